"""What a machine needs before a start: ``preflight.toml``."""

from collections.abc import Mapping

from planner.facts.record import Record, door
from planner.facts.vllm import Origin


class LeastByRelease(Origin):
    """Least version of a companion from a vLLM release on, oldest first."""

    by_vllm: tuple[tuple[str, str], ...]


class ParserModules(Origin):
    """Where vLLM's argument parser lives, newest first."""

    modules: tuple[str, ...]


class YarnTrap(Origin):
    """A ``config.json`` that scales attention wrongly from a release on."""

    from_vllm: str
    bad_value: float


class CheckpointFacts(Origin):
    """Tensors on disk below this share of the planned ones are another model's, or not all."""

    least_share: float


class SharedMemory(Origin):
    """What ranks need of /dev/shm."""

    need_gib: float


class HostMemory(Origin):
    """What processes take of the host's memory."""

    per_process_gib: float
    processes_beside_ranks: int


class Commands(Origin):
    """Time limits."""

    timeout_s: float
    parser_timeout_s: float


class DeviceUuids(Origin):
    """The release from which on CUDA_VISIBLE_DEVICES may hold the names that the driver gives to GPUs."""

    since: str


class LimitFacts(Origin):
    """What the host's limits must allow."""

    least_open_files: int
    least_processes: int
    least_file_gib: float


class CudaDrivers(Origin):
    """Drivers by CUDA release, and CUDA releases by vLLM's images, oldest first."""

    least: tuple[tuple[str, str], ...]
    images: tuple[tuple[str, str], ...]


class RocmDrivers(Origin):
    """What AMD supports on each amdgpu package, and ROCm releases by vLLM's images, oldest first."""

    supported: tuple[tuple[str, str, str], ...]
    images: tuple[tuple[str, str], ...]


class RocmModules(Origin):
    """First version of the kernel module of each amdgpu package, oldest first."""

    first: tuple[tuple[str, str], ...]


class Temporary(Origin):
    """What the temporary folder must allow."""

    socket_name_bytes: int
    """What the engine puts behind the folder's name."""
    most_socket_bytes: int
    least_gib: float


class CompiledCode(Origin):
    """Where compiled code is kept and loaded from."""

    least_gib: float
    folders: Mapping[str, str]
    """By the variable that moves it, the folder without that variable."""


class FileVariables(Origin):
    """Variables that name a file which must be there."""

    needed: tuple[str, ...]
    for_downloads: tuple[str, ...]


class Debugging(Origin):
    """Variables that make everything slow, to find an error."""

    on: Mapping[str, tuple[str, ...]]
    """By variable, the values that do."""


class VariableChoices(Origin):
    """Variables that hold one of some words."""

    any_case: tuple[str, ...]
    several: tuple[str, ...]
    """Those that hold any number of their words, with commas."""
    words: Mapping[str, tuple[str, ...]]


class AllocatorOptions(Origin):
    """Options of torch's allocator."""

    names: tuple[str, ...]
    least: Mapping[str, int]
    """The least value of some."""


class FileFlags(Origin):
    """Flags that name a file or a folder which must be there."""

    paths: tuple[str, ...]
    paths_or_names: tuple[str, ...]
    """Their values may be names on the hub."""
    template: str
    """Its value may be the template itself."""
    adapters: str
    """It takes several, each with a name."""
    adapter_file: str
    """What the folder of an adapter has."""


class OptionalPackages(Origin):
    """Packages that some values of flags need."""

    by_flag: Mapping[str, Mapping[str, str]]
    """Flag → its value → the distribution, with underscores."""


class StartModules(Origin):
    """Names of modules that the engine imports before it serves."""

    standard: tuple[str, ...]
    """Python's own, less those that it has loaded before it looks for files."""
    installed: tuple[str, ...]
    single_files: tuple[str, ...]
    """Those of the installed ones that are a file and not a folder."""


class ConfigValues(Origin):
    """What the keys of a config.json may hold."""

    numbers: tuple[str, ...]
    dtypes: tuple[str, ...]
    renamed: tuple[str, ...]
    rope_needs: Mapping[str, tuple[str, ...]]
    """Kind of scaled positions → keys without which it is refused."""


class BackendPackages(Origin):
    """Attention backends by how their names begin."""

    by_name: Mapping[str, str]
    """The distribution, with underscores."""
    vendors: Mapping[str, str]


class LibraryVariables(Origin):
    """What libraries beneath the engine read of their variables."""

    python_files: Mapping[str, tuple[str, ...]]
    """Package → files that make numbers of variables."""
    python_prefixes: tuple[str, ...]
    torch_switches: tuple[str, ...]
    switch_words: tuple[str, ...]
    torch_numbers: tuple[str, ...]
    ignored_numbers: tuple[str, ...]
    words: Mapping[str, tuple[str, ...]]


class TokenizerFiles(Origin):
    """Patterns of the files that a tokenizer is made of."""

    mistral: tuple[str, ...]
    hf: tuple[str, ...]


class PreflightFacts(Record):
    """The whole file."""

    transformers: LeastByRelease
    mistral_common: LeastByRelease
    parser_modules: ParserModules
    yarn_trap: YarnTrap
    checkpoint: CheckpointFacts
    shared_memory: SharedMemory
    host_memory: HostMemory
    commands: Commands
    limits: LimitFacts
    device_uuids: DeviceUuids
    cuda_drivers: CudaDrivers
    rocm_drivers: RocmDrivers
    rocm_modules: RocmModules
    temporary: Temporary
    compiled_code: CompiledCode
    file_variables: FileVariables
    debugging: Debugging
    variable_choices: VariableChoices
    allocator_options: AllocatorOptions
    file_flags: FileFlags
    packages: OptionalPackages
    start_modules: StartModules
    config_values: ConfigValues
    backend_packages: BackendPackages
    library_variables: LibraryVariables
    tokenizer_files: TokenizerFiles


preflight_facts = door("preflight.toml", PreflightFacts)
