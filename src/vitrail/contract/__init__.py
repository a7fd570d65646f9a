"""The contract suite: what every model, method and other part must keep, and how to mend it.

Vitrail's tests and `vitrail check` run the same checks.
"""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail.contract.checks import BrokenContractError as BrokenContractError
    from vitrail.contract.checks import Check as Check
    from vitrail.contract.checks import Outcome as Outcome
    from vitrail.contract.checks import run_checks as run_checks
    from vitrail.contract.model_case import ModelCase as ModelCase
    from vitrail.contract.suite import check_part as check_part
    from vitrail.contract.suite import parts_of as parts_of

lazy(__name__)
