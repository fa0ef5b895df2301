"""SQL scripts of views, as migrations make and drop them."""

from pathlib import Path

from alembic import op


def make_views(script: Path, *names: str) -> None:
    """Makes the script's views, or those of them that are named."""
    for name, statement in _views(script).items():
        if not names or name in names:
            op.execute(statement)


def drop_views(script: Path, *names: str) -> None:
    """Drops the same views, those that others use last."""
    for name in reversed(_views(script)):
        if not names or name in names:
            op.execute(f"DROP VIEW {name}")


def _views(script: Path) -> dict[str, str]:
    """The statement of each view, in the order of making."""
    lines = [line for line in script.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("--")]
    statements = [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]
    return {statement.removeprefix("CREATE VIEW ").split()[0]: statement for statement in statements}
