"""Who says what a reply is: rules by default, a language model if one is named."""

from __future__ import annotations

from jobs.welfare.judges.judge import Judge, Verdict
from jobs.welfare.judges.rules import RulesJudge

RULES = RulesJudge.name

__all__ = ["RULES", "Judge", "RulesJudge", "Verdict"]
