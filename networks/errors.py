"""Errors that a user can fix."""


class UserError(Exception):
    """A sentence that says what was wrong, with the value or the file, and what would be right.

    Scripts print the sentence and exit with a status that is not 0; a traceback is for our own mistakes.
    """

    @property
    def sentence(self) -> str:
        """The message alone, also where a data loader's worker has put its traceback before it."""
        return str(self).rpartition(f"{UserError.__qualname__}: ")[2].strip()


def in_short(error: Exception) -> str:
    """What a library's error says, without the content of a whole file, which UnicodeDecodeError holds."""
    text = str(error)
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1} is not {error.encoding}"
    return text if isinstance(error, OSError) and text else f"{type(error).__name__}: {text}"[:200]


def name_failed_download(start: bytes) -> str:
    """What a download that failed has left, by a file's first bytes, as the rest of "it ..."; empty for other files."""
    if not start.strip(b"\0"):
        return "is empty, or begins with zeros, as after a download that was cut off"
    start = start.lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, whose content is fetched by 'git lfs pull'"
    return "is a web page; the download failed" if start.startswith((b"<!doctype html", b"<html")) else ""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, the system's or a GPU's: torch and the system report it by errors of several types."""
    reports = ("DefaultCPUAllocator", "allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(report in str(error) for report in reports)
