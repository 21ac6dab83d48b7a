"""Frozen dataclasses that are made fast: the standard ones in every way but the time their classes take.

:func:`dataclasses.dataclass` compiles seven methods for each class. A plan needs about fifty classes, and they took a
fifth of its cold start. Here nothing is compiled, and a value is made about as fast. Fields, ``replace``, ``asdict``,
equality, hashes, copies, pickles and signatures are those of any dataclass.
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
            made = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=True)(cls)
            fields = dataclasses.fields(made)
            compared = [one.name for one in fields if one.compare]
            equal, hashed = _comparison(
                compared, [one.name for one in fields if (one.compare if one.hash is None else one.hash)]
            )
            members = {
                "__init__": _init(cls, fields), "__signature__": _Signature(), "__repr__": _repr,
                "__eq__": equal, "__hash__": hashed, "__setattr__": _refuse_setting, "__delattr__": _refuse_deleting,
            }  # fmt: skip
            if order:
                for name in ("__lt__", "__le__", "__gt__", "__ge__"):
                    members[name] = _ordering(getattr(operator, name), compared)
            if slots:
                return _slotted(made, [one.name for one in fields], members)
            for name, member in members.items():
                setattr(made, name, member)
            return made

        return decorate

    def _slotted(cls, names, members):
        """The class once more, with a slot for each field: slots are given when a class is made, and only then."""
        body = {key: value for key, value in vars(cls).items() if key not in (*names, "__dict__", "__weakref__")}
        inherited = {name for base in cls.__mro__[1:-1] for name in getattr(base, "__slots__", ())}
        body |= members
        body |= {
            "__slots__": tuple(name for name in names if name not in inherited),
            "__getstate__": _state, "__setstate__": _restore, "__qualname__": cls.__qualname__,
        }  # fmt: skip
        return type(cls)(cls.__name__, cls.__bases__, body)

    def _init(cls, fields):
        """Take the fields by name: what must be given, what has a default, what is made, what nobody may give."""
        fill, missing = object.__setattr__, dataclasses.MISSING
        usual, made, fixed = {}, [], []
        for one in fields:
            if one.default_factory is not missing:
                made.append((one.name, one.default_factory, one.init))
            elif one.default is not missing and one.init:
                usual[one.name] = one.default
            elif one.default is not missing:
                fixed.append((one.name, one.default))
        names = {one.name for one in fields if one.init}
        checked = hasattr(cls, "__post_init__")

        def __init__(self, /, **given):
            values = {**usual, **given}
            for name, make, may_be_given in made:
                if not may_be_given:
                    fill(self, name, make())
                elif name not in values:
                    values[name] = make()
            if values.keys() != names:
                raise TypeError(f"{cls.__qualname__}.__init__() {_misfit(fields, values)}")
            for name, value in values.items():
                fill(self, name, value)
            for name, value in fixed:
                fill(self, name, value)
            if checked:
                self.__post_init__()

        __init__.__qualname__ = f"{cls.__qualname__}.__init__"
        return __init__

    def _misfit(fields, values):
        """What is wrong with the names of some values."""
        names = [one.name for one in fields if one.init]
        missing = next((name for name in names if name not in values), None)
        if missing is not None:
            return f"needs {missing!r}"
        return f"takes no {', '.join(repr(name) for name in values if name not in names)}"

    class _Signature:
        """What a class tells of its arguments, put together where somebody asks."""

        def __get__(self, value, cls):
            import inspect

            empty, arguments = inspect.Parameter.empty, []
            for one in dataclasses.fields(cls):
                if one.init:
                    made = one.default if one.default_factory is dataclasses.MISSING else one.default_factory
                    default = empty if made is dataclasses.MISSING else made
                    arguments.append(
                        inspect.Parameter(
                            one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=one.type
                        )
                    )
            return inspect.Signature(arguments)

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
