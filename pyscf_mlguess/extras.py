"""What to tell a user who lacks an optional dependency: the package is in no index."""


def how_to_install(extra: str) -> str:
    """The way to an extra of pyproject.toml, in words."""
    return f"install the extra {extra!r}, pip install '.[{extra}]' in a clone of the repository"
