"""The error tree. Errors are classed by what a retry would change; nothing here knows HTTP or Dagster.

    GeoPinError
    ├── TransientError          another attempt may succeed: 408, 429, 5xx, timeouts, "try later"
    │   ├── StorageFullError    the disk is full: what was being written was not, what was there is still there
    │   └── SourceUnavailable   not asked: it failed too often just now, or today's budget for it is spent
    │       ├── BudgetSpent     the day's budget is used up, or the provider asked for a day without requests
    │       └── OutOfTimeError  the run must end: what was asked for is left to the next one
    └── PermanentError          a retry changes nothing: bad credentials, malformed request
        ├── EvidenceError       what is to be deleted is not known to be gone: nothing is, until a remedy that it names
        │   ├── StaleCatalogError  the catalog is missing, another installation's, or older than what was made from it
        │   └── StaleLedgerError   the ledger is missing or older than a store that was published to
        ├── ConfigurationError  a setting or key is missing or wrong; the message names it
        └── PayloadError        answered, but not in the documented shape
            └── DamagedFileError  so with a file of our own: it is made anew, or restored

A record that cannot be used is not an error: it is a `capture.Rejected`, counted by reason. Nor is a crawl that knows
that captures are missing: its report says so.
Messages carry their coordinates (source, cell, page) and never a token.
"""


class GeoPinError(Exception):
    """Base of every error this project raises on purpose."""


class TransientError(GeoPinError):
    """The same request may succeed later.

    `retry_after_s` is what the server asked for (seconds), or None.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StorageFullError(TransientError):
    """There is no space left to write to; the message names the file. Nothing that was there is lost."""


class SourceUnavailable(TransientError):
    """The source failed repeatedly; further requests are refused for a while without being sent."""


class BudgetSpent(SourceUnavailable):
    """No more requests of this kind today; the message says which budget, and when it is full again."""


class OutOfTimeError(SourceUnavailable):
    """Whoever asks has no time left for another request; nothing is wrong with the source."""


class PermanentError(GeoPinError):
    """Repeating the request cannot help."""


class EvidenceError(PermanentError):
    """Something would be deleted without evidence that it is gone; nothing was. The message names the remedy."""


class StaleCatalogError(EvidenceError):
    """The catalog is not the one that stored vectors, the ledger or published stores were made from."""


class StaleLedgerError(EvidenceError):
    """The ledger does not know what was last published."""


class ConfigurationError(PermanentError):
    """A setting is missing or wrong; the message names the variable and how to set it."""


class PayloadError(PermanentError):
    """The answer does not have the documented shape."""


class DamagedFileError(PayloadError):
    """A file of this installation cannot be read; the message names it."""
