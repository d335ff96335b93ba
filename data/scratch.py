"""Temporary files without a name. Apart from the other files, since the jail needs nothing but the standard library."""

from __future__ import annotations

import platform
import tempfile
from typing import IO

from proofmill.data.errors import ScratchError


def scratch_file(content: bytes = b"") -> IO[bytes]:
    """Return an open temporary file without a name, which is gone once it is closed.

    Raises:
        ScratchError: there is no room for it.
    """
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
        file.write(content)
        file.flush()
        return file
    except OSError as error:
        raise ScratchError(
            f"The folder for temporary files can't be used: {error.strerror or error}.",
            where=f"{tempfile.gettempdir()} on {platform.node()}",
            remedy="free some space there, or set TMPDIR (on a cluster the recipe key cluster.scratch) to another "
            "folder; then run the same command again: what is done stays done",
        ) from error
