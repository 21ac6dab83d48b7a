"""What the twin says, and the weights that make it say so; it never reads or writes files.

The residual stream is a set of named coordinates: one that is always on, one per scripted token, one per flag.
The first layer's attention looks back for three things (a high reasoning effort, offered tools, the colour of
an image) and raises their flags. The output matrix is a table "after this token, that one", with flags as
votes. Every other layer computes and then writes nothing. A token's score leads the next best by 15 or more,
so that sampling at temperature 1 says the same as greedy decoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from planner.serve.rehearsal.twin.spec import SPECIAL_TOKENS, TwinSpec
from planner.serve.rehearsal.twin.tekken import CONTROL_TOKENS, words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

GREETING = ("Hello", ",", " I", " am", " a", " twin", ".")
REASONING = ("Let", " me", " think")
COLOURS = ("Red", "Green", "Blue")
TOOL_NAME = "get_weather"
TOOL_ARGUMENTS = '{"city": "Paris"}'
AFTER_TOOL = ("Done", "!")

CHAINS: tuple[tuple[str, ...], ...] = (
    (*GREETING, "</s>"),
    ("[THINK]", *REASONING, "[/THINK]"),
    *((colour, "!") for colour in COLOURS),
    ("[TOOL_CALLS]", TOOL_NAME, "[ARGS]", TOOL_ARGUMENTS, "</s>"),
    ("[/TOOL_RESULTS]", *AFTER_TOOL, "</s>"),
)
"""What follows what, whatever else is the case."""

CHAIN_SCORE = 150.0
OPENINGS: tuple[tuple[str, str, float], ...] = (
    # where an answer starts, each opening's score before flags vote
    ("[/INST]", GREETING[0], 110.0),
    ("[/THINK]", GREETING[0], 110.0),
    # a schema allows no greeting, and the document should come before needless thought
    ("[/INST]", "{", 80.0),
    ("[/THINK]", "{", 80.0),
    ("[/INST]", "[THINK]", 90.0),
    ("[/INST]", "[TOOL_CALLS]", 70.0),
    ("[/THINK]", "[TOOL_CALLS]", 70.0),
    *(("[/INST]", colour, 70.0) for colour in COLOURS),
    *(("[/THINK]", colour, 70.0) for colour in COLOURS),
)
FLAG_VOTES: tuple[tuple[str, str, float], ...] = (
    ("high", "[THINK]", 60.0),
    ("tools", "[TOOL_CALLS]", 60.0),
    *((colour, colour, 60.0) for colour in COLOURS),
)
JSON_BIAS = {'"': 35.0, "]": 32.0, "}": 30.0, ",": 25.0, '":': 20.0, "{": 15.0, "1": 10.0}
"""Where only a grammar decides, prefer what closes the document."""
BLANK_BIAS = -50.0

EFFORTS = ("high", "none")
FLAGS = ("high", "tools", *COLOURS)
_CONTROL_IDS = {name: rank for rank, name in CONTROL_TOKENS.items()}


def scripted_words() -> tuple[str, ...]:
    """Return every ordinary token that the script names and that is not a single byte, once, in order."""
    named = [token for chain in CHAINS for token in chain] + [*EFFORTS, *JSON_BIAS]
    ordinary = [token for token in named if token not in _CONTROL_IDS and len(token.encode()) > 1]
    return tuple(dict.fromkeys(ordinary))


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The script laid into one twin's dimensions."""

    spec: TwinSpec
    token_ids: dict[str, int]
    """Id of each token that has a coordinate."""
    blank_ids: tuple[int, ...]
    """Tokens of white space only."""

    ALWAYS = 0
    """The coordinate that every token has."""
    ALWAYS_SIZE = 4.0
    FLAG_SIZE = 4.0
    KEY_SIZE = 13.0
    """Query and key size at head_dim 32; with YaRN's factor it puts a match some 28 nats above the rest."""

    @classmethod
    def of(cls, spec: TwinSpec) -> Script:
        """Number the script's tokens in the vocabulary of `spec`."""
        ordinary = words(spec, scripted_words())
        ids = {token: SPECIAL_TOKENS + rank for rank, token in enumerate(ordinary)}
        named = dict.fromkeys(
            [token for chain in CHAINS for token in chain]
            + [token for a, b, _ in OPENINGS for token in (a, b)]
            + ["[AVAILABLE_TOOLS]", *EFFORTS, *JSON_BIAS]
        )
        return cls(
            spec=spec,
            token_ids={name: _CONTROL_IDS[name] if name in _CONTROL_IDS else ids[name.encode()] for name in named},
            blank_ids=tuple(number for token, number in ids.items() if not token.strip()),
        )

    @property
    def token_size(self) -> float:
        """Size of a token's own coordinate: with ALWAYS it makes every row of norm sqrt(hidden_size)."""
        return float((self.spec.hidden_size - self.ALWAYS_SIZE**2) ** 0.5)

    @property
    def free(self) -> int:
        """First coordinate that the script leaves to noise."""
        return 1 + len(self.token_ids) + len(FLAGS)

    def at(self, token: str) -> int:
        """Return the coordinate of a scripted token."""
        return 1 + list(self.token_ids).index(token)

    def flag(self, name: str) -> int:
        """Return the coordinate of a flag."""
        return 1 + len(self.token_ids) + FLAGS.index(name)

    def embedding(self, noise: Matrix) -> Matrix:
        """Return the token embedding ``[vocab, hidden]``: coordinates for scripted tokens, noise for the rest."""
        import numpy as np

        rows = noise.copy()
        rows[:, : self.free] = 0
        rows *= self.token_size / np.linalg.norm(rows, axis=1, keepdims=True)
        rows[:, self.ALWAYS] = self.ALWAYS_SIZE
        for token, number in self.token_ids.items():
            rows[number, 1:] = 0
            rows[number, self.at(token)] = self.token_size
        return rows

    def output(self, noise: Matrix) -> Matrix:
        """Return the output matrix ``[vocab, hidden]``: the table of next tokens."""
        rows = noise.copy()
        rows[:, : self.free] = 0
        links = [(a, b, CHAIN_SCORE) for chain in CHAINS for a, b in pairwise(chain)]
        for after, token, score in (*links, *OPENINGS):
            rows[self.token_ids[token], self.at(after)] += score / self.token_size
        for flag, token, score in FLAG_VOTES:
            rows[self.token_ids[token], self.flag(flag)] += score / self.FLAG_SIZE
        for token, score in JSON_BIAS.items():
            rows[self.token_ids[token], self.ALWAYS] += score / self.ALWAYS_SIZE
        for number in self.blank_ids:
            rows[number, self.ALWAYS] += BLANK_BIAS / self.ALWAYS_SIZE
        return rows

    def attention(self) -> dict[str, Matrix]:
        """Return wq, wk, wv, wo of the first layer.

        Keys and queries use the slowest rotary pair, which hardly turns within the context. KV head 0 finds
        the reasoning effort, head 1 the tools, head 2 the image; one query head of each group asks.
        """
        import numpy as np

        spec, size = self.spec, self.spec.head_dim
        query_rows, kv_rows = spec.num_attention_heads * size, spec.num_key_value_heads * size
        wq = np.zeros((query_rows, spec.hidden_size), np.float32)
        wk = np.zeros((kv_rows, spec.hidden_size), np.float32)
        wv = np.zeros((kv_rows, spec.hidden_size), np.float32)
        wo = np.zeros((spec.hidden_size, query_rows), np.float32)
        slowest = size - 2
        image = spec.hidden_size**0.5  # one lone coordinate after the norm
        looks_for = (
            {self.at(effort): self.token_size for effort in EFFORTS},
            {self.at("[AVAILABLE_TOOLS]"): self.token_size},
            {self.flag(colour): image for colour in COLOURS},
        )
        raises = (
            {self.at("high"): ("high", self.token_size)},
            {self.at("[AVAILABLE_TOOLS]"): ("tools", self.token_size)},
            {self.flag(colour): (colour, image) for colour in COLOURS},
        )
        for head, (keys, values) in enumerate(zip(looks_for, raises, strict=True)):
            first, query = head * size, head * spec.queries_per_kv_head * size
            # Scores are divided by sqrt(head_dim); the query makes up for it.
            wq[query + slowest, self.ALWAYS] = self.KEY_SIZE * (size / 32) ** 0.5 / self.ALWAYS_SIZE
            for coordinate, norm in keys.items():
                wk[first + slowest, coordinate] = self.KEY_SIZE / norm
            for place, (coordinate, (flag, norm)) in enumerate(values.items()):
                wv[first + place, coordinate] = 1 / norm
                wo[self.flag(flag), query + place] = self.FLAG_SIZE
        return {"wq": wq, "wk": wk, "wv": wv, "wo": wo}

    def draft_projection(self) -> Matrix:
        """Return ``[hidden, 2 * hidden]``: the next token's embedding as it is, the flags from the target."""
        import numpy as np

        hidden = self.spec.hidden_size
        matrix = np.zeros((hidden, 2 * hidden), np.float32)
        matrix[:, :hidden] = np.eye(hidden, dtype=np.float32)
        for name in FLAGS:
            matrix[self.flag(name), hidden + self.flag(name)] = 1
        return matrix

    def image_projection(self) -> Matrix:
        """Return ``[hidden, hidden]``: the first three channels of the adapter to the three colour flags."""
        import numpy as np

        matrix = np.zeros((self.spec.hidden_size, self.spec.hidden_size), np.float32)
        for channel, colour in enumerate(COLOURS):
            matrix[self.flag(colour), channel] = 1
        return matrix
