"""The command line; replaced as commands arrive."""


def main() -> int:
    """Say that nothing is here yet."""
    return 0
