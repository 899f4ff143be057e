"""Pages."""


def main(written: object) -> int:
    """Nothing yet."""
    return 0
