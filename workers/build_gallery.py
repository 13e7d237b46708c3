"""The gallery's next index generation: out goes a file built from rows, when one is due. One writer at a time."""

from workers.context import Context


def build_gallery(context: Context) -> int:
    """Build if a generation is missing, broken, holds a withdrawn template, or has too many templates beside it."""
    context.gallery.refresh(context.conn)
    if context.gallery.needs_build():
        context.gallery.build(context.conn, context.heartbeat)
    return 0
