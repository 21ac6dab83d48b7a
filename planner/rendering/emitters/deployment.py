"""Where and under which names a plan is deployed: what a user adds to it, with one word for one thing in every emitter.

It knows no target; which of these a target understands, the target says (``READS``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Literal

from hw_specs.errors import shown
from planner.errors import InvalidRequest
from planner.rendering.address import check_host
from planner.rendering.secrets import secrets_in
from planner.settings import DEFAULT_PORT

_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL_NAME = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
LONGEST_NAME = 40
"""Controllers put up to 23 letters behind a name, and a label holds 63."""
SECRETS = ("HF_TOKEN", "VLLM_API_KEY")
"""Variables passed by name or by reference, never by value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What is not in the plan, and still in what is emitted.

    Raises:
        InvalidRequest: for a value that Kubernetes or Docker would refuse, naming the field.
    """

    host: str | None = None
    """Address the server listens on, or a container publishes; None: 127.0.0.1, and all addresses of a pod."""
    port: int = DEFAULT_PORT
    """Port the server is reached on."""
    head_address: str | None = None
    """Address of node 0 that the other nodes of one server reach."""
    name: str | None = None
    """What everything emitted is called; None: as the model."""
    namespace: str | None = None
    """Kubernetes namespace of every object."""
    image: str | None = None
    """Container image; None: the release's own."""
    image_digest: str | None = None
    """``sha256:…``, which pins the image."""
    storage_class: str | None = None
    """Storage class of the volume claims."""
    secret: str | None = None
    """Kubernetes Secret with the keys HF_TOKEN and VLLM_API_KEY; None: ``NAME-secrets``."""
    pull_secret: str | None = None
    """Kubernetes Secret for a private image registry."""
    env: tuple[tuple[str, str], ...] = ()
    """More variables of the server."""
    labels: tuple[tuple[str, str], ...] = ()
    """More labels on what is emitted."""
    mig_strategy: Literal["mixed", "single"] = "mixed"
    """How the cluster's device plugin names MIG slices: each profile as a resource of its own, or all as GPUs."""
    prometheus: str = "http://prometheus-operated.monitoring.svc:9090"
    """The Prometheus that an autoscaler asks: the Service of Prometheus' operator, by default."""

    def __post_init__(self) -> None:
        if self.host is not None:
            check_host(self.host)
        if self.head_address is not None:
            _host("head_address", self.head_address)
        if not 1 <= self.port <= 65535:
            raise InvalidRequest("port", f"port must be between 1 and 65535, not `{self.port}`")
        if self.name is not None and not (_LABEL.fullmatch(self.name) and len(self.name) <= LONGEST_NAME):
            raise InvalidRequest(
                "name",
                f"name `{shown(self.name)}` is not one that every object accepts",
                hint=f"a letter, then lower case letters, digits and dashes; at most {LONGEST_NAME}",
            )
        for one in ("namespace", "storage_class", "secret", "pull_secret"):
            value = getattr(self, one)
            if value is not None and not (_SUBDOMAIN.fullmatch(value) and len(value) <= 253):
                raise InvalidRequest(
                    one,
                    f"{one} `{shown(value)}` is not a name in Kubernetes",
                    hint="lower case letters, digits, dashes",
                )
        if self.image is not None and not _IMAGE.fullmatch(self.image):
            raise InvalidRequest("image", f"image `{shown(self.image)}` is not a reference to an image")
        if self.image_digest is not None and not _DIGEST.fullmatch(self.image_digest):
            raise InvalidRequest(
                "image_digest",
                f"image_digest `{shown(self.image_digest)}` is not a digest",
                hint="sha256: and 64 hexadecimal digits, as `docker buildx imagetools inspect IMAGE` prints it",
            )
        if self.mig_strategy not in ("mixed", "single"):
            raise InvalidRequest(
                "mig_strategy", f"mig_strategy `{shown(self.mig_strategy)}` is neither `mixed` nor `single`"
            )
        for variable, value in self.env:
            if not _VARIABLE.fullmatch(variable) or "\n" in value or "\0" in value:
                raise InvalidRequest("env", f"env `{shown(variable)}` is not a variable of one line")
            if variable in SECRETS or secrets_in(f"{variable}={value}"):
                raise InvalidRequest(
                    "env",
                    f"env would write the value of {variable} into the artefact",
                    hint="secrets are passed by name or come from the Secret",
                )
        for label, value in self.labels:
            if not _LABEL_NAME.fullmatch(label) or not _LABEL_VALUE.fullmatch(value):
                raise InvalidRequest("labels", f"label `{shown(f'{label}={value}')}` is not one in Kubernetes")
        if not re.fullmatch(r"https?://[^\s\"'\\]+", self.prometheus):
            raise InvalidRequest("prometheus", f"prometheus `{shown(self.prometheus)}` is not a URL")

    @property
    def given(self) -> frozenset[str]:
        """Names of the fields that are not as by default."""
        return frozenset(one.name for one in fields(self) if getattr(self, one.name) != one.default)


def _host(name: str, value: str) -> None:
    try:
        check_host(value)
    except InvalidRequest as error:
        raise InvalidRequest(name, f"{name} `{shown(value)}` is neither an IP address nor a name") from error


EVERYWHERE = frozenset({"port", "host", "env"})
IN_CONTAINERS = EVERYWHERE | {"name", "image", "image_digest", "labels"}
IN_CLUSTERS = IN_CONTAINERS | {"namespace", "storage_class", "secret", "pull_secret", "mig_strategy"}
"""What all targets of a kind understand."""
