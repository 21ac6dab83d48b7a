"""Frozen dataclasses that are made fast: the standard ones in every way but the time their classes take.

:func:`dataclasses.dataclass` compiles seven methods for each class. A plan needs about fifty classes, and they took a
fifth of its cold start. Here only ``__init__`` is compiled; what is the same for all is not. Fields, ``replace``,
``asdict``, equality, hashes, copies and pickles are those of any dataclass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    import dataclasses
    import operator
    from operator import attrgetter

    def dataclass(*, frozen, kw_only, slots=False, order=False):
        """Return the decorator for a frozen class whose fields are given by name."""
        assert frozen and kw_only, "anything else is a dataclass of the standard library"

        def decorate(cls):
            made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=True)(cls)
            fields = dataclasses.fields(made)
            made.__init__ = _init(made, fields)
            made.__repr__ = _repr
            made.__eq__, made.__hash__ = _comparison(
                [one.name for one in fields if one.compare],
                [one.name for one in fields if (one.compare if one.hash is None else one.hash)],
            )
            if order:
                for name in ("__lt__", "__le__", "__gt__", "__ge__"):
                    setattr(made, name, _ordering(getattr(operator, name), [one.name for one in fields if one.compare]))
            made.__setattr__, made.__delattr__ = _refuse_setting, _refuse_deleting
            if slots:
                made.__getstate__, made.__setstate__ = _state, _restore
            return made

        return decorate

    def _init(cls, fields):
        """The one method that is compiled: its arguments are the fields."""
        known = {"_set": object.__setattr__, "_missing": dataclasses.MISSING}
        arguments, lines = [], []
        for one in fields:
            name, value = one.name, one.name
            if one.default_factory is not dataclasses.MISSING:
                known[f"_made_{name}"] = one.default_factory
                value = f"_made_{name}()" + (f" if {name} is _missing else {name}" if one.init else "")
            elif one.default is not dataclasses.MISSING:
                known[f"_default_{name}"] = one.default
                value = name if one.init else f"_default_{name}"
            elif not one.init:
                continue
            if one.init:
                default = f"_default_{name}" if f"_default_{name}" in known else "_missing"
                required = default == "_missing" and f"_made_{name}" not in known
                arguments.append(name if required else f"{name}={default}")
            lines.append(f" _set(self, {name!r}, {value})")
        if hasattr(cls, "__post_init__"):
            lines.append(" self.__post_init__()")
        head = f"def __init__(self{', *, ' if arguments else ''}{', '.join(arguments)}):"
        exec("\n".join([head, *(lines or [" pass"])]), known)
        init = known["__init__"]
        init.__qualname__ = f"{cls.__qualname__}.__init__"
        return init

    def _comparison(equal, hashed):
        key, hash_key = _key(equal), _key(hashed)

        def __eq__(self, other):
            return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

        def __hash__(self):
            return hash(hash_key(self))

        return __eq__, __hash__

    def _ordering(compare, names):
        key = _key(names)

        def ordered(self, other):
            return compare(key(self), key(other)) if other.__class__ is self.__class__ else NotImplemented

        return ordered

    def _key(names):
        if len(names) > 1:
            return attrgetter(*names)
        return (lambda value: (getattr(value, names[0]),)) if names else lambda value: ()

    def _repr(self):
        shown = (f"{one.name}={getattr(self, one.name)!r}" for one in dataclasses.fields(self) if one.repr)
        return f"{self.__class__.__qualname__}({', '.join(shown)})"

    def _refuse_setting(self, name, value):
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def _refuse_deleting(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def _state(self):
        return [getattr(self, one.name) for one in dataclasses.fields(self)]

    def _restore(self, state):
        for one, value in zip(dataclasses.fields(self), state, strict=True):
            object.__setattr__(self, one.name, value)
