"""Conformance of an adapter: does a model keep the contract of `TextModel`? Tried on texts that are generated on the spot."""

from harness.check.case import Case, InapplicableError
from harness.check.trial import CHECKS, Finding, as_records, as_text, conformance

__all__ = ["CHECKS", "Case", "Finding", "InapplicableError", "as_records", "as_text", "conformance"]
