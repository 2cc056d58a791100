"""The files that a person has given in one session: in its folder, within bounds. No Streamlit here."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import OrderedDict
from pathlib import Path

from explain_core.errors import InputError, JobError
from explain_core.jobs.limits import Limits, in_gb


class HeldFiles:
    """Uploads by what they are, and which of them are in use.

    Args:
        folder: where they go.
        limits: what they may take.
        notices: gets a sentence for each that had to make room.
    """

    def __init__(self, folder: Path, limits: Limits, notices: list[str]) -> None:
        self._upload_folder, self.limits, self.notices = folder, limits, notices
        self._files: OrderedDict[str, Path] = OrderedDict()
        self._slots: dict[str, Path] = {}

    def keep_upload(self, name: str, data: bytes, slot: str | None = None) -> Path:
        """Write an uploaded file to the session's folder; the oldest make room, with a notice.

        Args:
            name: what it was called on the person's machine.
            data: its bytes.
            slot: where it is used, a model or a sequence for instance. The file in a slot never makes room; another
                file in the same slot frees the one before.

        Raises:
            InputError: it is larger than all of a session's uploads may be together.
            JobError: the disk is full.
        """
        limits = self.limits
        if len(data) > limits.upload_bytes:
            raise InputError(
                f"The file has {in_gb(len(data))}; uploads may have {in_gb(limits.upload_bytes)} together.",
                where=name,
                hint="Give a smaller file, or run PairLift yourself with a larger PAIRLIFT_UPLOAD_GB.",
            )
        name = re.sub(r"[^\w.()+= -]", "_", name.replace("\\", "/").rpartition("/")[2])[-60:].strip(". ") or "upload"
        found = hashlib.sha256(name.encode())
        found.update(data)
        digest = found.hexdigest()
        path = self._files.get(digest)
        if path is None or not path.exists():
            path = self._upload_folder / digest[:16] / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            except OSError as error:
                shutil.rmtree(path.parent, ignore_errors=True)  # a part of it would fill the disk for nothing
                raise not_kept("file", error, name) from None
            self._files[digest] = path
        self._files.move_to_end(digest)
        if slot is not None:
            self._slots[slot] = path
        self._make_room(digest)
        return path

    def held(self, slot: str) -> Path | None:
        """The file in a slot."""
        return self._slots.get(slot)

    def free_slot(self, slot: str) -> None:
        """The file in a slot is not used any more, and may make room."""
        self._slots.pop(slot, None)

    def _make_room(self, newest: str) -> None:
        limits = self.limits
        held = set(self._slots.values())
        removable = [digest for digest, path in self._files.items() if digest != newest and path not in held]
        sizes = {digest: path.stat().st_size for digest, path in self._files.items() if path.exists()}
        while removable and (len(sizes) > limits.upload_files or sum(sizes.values()) > limits.upload_bytes):
            digest = removable.pop(0)
            path = self._files.pop(digest)
            sizes.pop(digest, None)
            shutil.rmtree(path.parent, ignore_errors=True)
            self.notices.append(
                f"{path.name} was removed to make room: a session keeps {limits.upload_files} files and "
                f"{in_gb(limits.upload_bytes)} of uploads. Give it again to use it again."
            )

    @property
    def slots(self) -> dict[str, Path]:
        """All that is in use."""
        return dict(self._slots)

    def put_back(self, slots: dict[str, Path]) -> bool:
        """Use what was in use before; says whether all of it is still there."""
        if not all(path.exists() for path in slots.values()):
            return False
        self._slots = dict(slots)
        return True


def not_kept(what: str, error: OSError, where: str = "") -> JobError:
    """What is said where something could not be written."""
    return JobError(
        f"The {what} could not be kept: {error.strerror}.",
        where=where,
        hint="Whoever runs this server can make room in its folder for temporary files (TMPDIR).",
    )
