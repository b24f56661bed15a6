"""The vocabulary of a reconciliation: findings, and the actions on them.

Enumerations, so that an unknown word is a type error. Their values are what reports, events and the
command's JSON show.
"""

from enum import StrEnum
from typing import Self


class Adopt(StrEnum):
    """Whether an old job's files are adopted; the first is the default."""

    VERIFIED = "verified"
    """Files that the evidence confirms are adopted."""
    NEVER = "never"
    REFETCH = "refetch"
    """Like VERIFIED, but only until the wallet is fetched from the source."""


class Action(StrEnum):
    """What `--apply` does about a finding."""

    REFETCH = "refetch"
    RECORD = "record"
    ADOPT = "adopt"
    FETCH = "fetch"
    CONFIRM = "confirm"
    REPLACE = "replace"
    RELOAD = "reload"
    DELETE = "delete"
    REGISTER = "register"
    EXPORT = "export"
    LIST = "list"
    BACKFILL = "backfill"
    NONE = "none"


class FindingKind(StrEnum):
    """The findings, worst first.

    `action` is what `--apply` does about a finding, `meaning` describes it for people.
    """

    _value_: str
    action: Action
    meaning: str

    def __new__(cls, word: str, action: Action, meaning: str) -> Self:
        """One finding: its word, its action and its meaning."""
        kind = str.__new__(cls, word)
        kind._value_ = word
        kind.action = action
        kind.meaning = meaning
        return kind

    GHOST = "ghost", Action.REFETCH, "recorded, but its data is gone, damaged or cannot be read"
    AHEAD = "ahead", Action.REFETCH, "covers time that the source could not have served yet"
    ORPHAN = "orphan", Action.RECORD, "covered in the store, but not recorded"
    ADOPTABLE = "adoptable", Action.ADOPT, "the old job has it, and its file passes the checks"
    FALSE_COMPLETE = (
        "false_complete",
        Action.FETCH,
        "the old job marked it complete, but the evidence fails",
    )
    EMPTY_COMPLETE = (
        "empty_complete",
        Action.CONFIRM,
        "the old job marked it complete without trades: one request checks that",
    )
    ADOPTED = (
        "adopted",
        Action.REPLACE,
        "taken over from the old job's file, to be replaced from the source",
    )
    NEWER_THAN_FILE = (
        "newer_than_file",
        Action.FETCH,
        "has newer trades than those taken over from the old job's file",
    )
    REFETCHING = "refetching", Action.FETCH, "a full refetch has not ended"
    UNLOADED = "unloaded", Action.RELOAD, "recorded and stored, but the table lacks rows"
    SURPLUS = "surplus", Action.RELOAD, "the table has rows that the store does not have"
    UNCLAIMED = "unclaimed", Action.DELETE, "rows that we loaded, of a wallet that no ledger knows"
    UNREGISTERED = "unregistered", Action.REGISTER, "known to a ledger, but not a partition"
    UNLISTED = "unlisted", Action.LIST, "wanted by the store's list, but not a row of `traders`"
    UNEXPORTED = (
        "unexported",
        Action.EXPORT,
        "complete, but not marked complete in the old job's checkpoint",
    )
    REMAINING = "remaining", Action.BACKFILL, "wanted, but not fetched yet"
    RETIRED = "retired", Action.NONE, "was removed: it is not collected any more"
    CONSISTENT = "consistent", Action.NONE, "all ledgers agree"

    @classmethod
    def _missing_(cls, value: object) -> "FindingKind | None":
        """Also accepts the word that older reports use."""
        return cls.NEWER_THAN_FILE if value == "behind" else None

    @property
    def settled(self) -> bool:
        """Whether a reconciliation has nothing to do about it."""
        return self.action in {Action.NONE, Action.BACKFILL}
