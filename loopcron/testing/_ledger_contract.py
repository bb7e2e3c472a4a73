"""
The contract of every ledger, as a class of tests: subclass `LedgerContract`, say how to make a ledger, done.

The cases stand beside this file, by what they are about; all they ask is what `Ledger` promises.
"""

from __future__ import annotations

from loopcron.testing._ledger_batches import BatchCases
from loopcron.testing._ledger_claims import ClaimCases
from loopcron.testing._ledger_people import PeopleCases
from loopcron.testing._ledger_races import RaceCases
from loopcron.testing._ledger_rows import RowCases
from loopcron.testing._ledger_runs import RunCases


class LedgerContract(RowCases, ClaimCases, BatchCases, RunCases, PeopleCases, RaceCases):
    """
    What holds for every ledger. Subclass it with a name that pytest collects, and give it `make_ledger`.

    The cases run on the event loops that your ``anyio_backend`` names. They judge by the store's own clock and wait
    for nothing but leases of a few milliseconds, so none depends on how fast the machine is::

        class TestMine(LedgerContract):
            @pytest.fixture(autouse=True)
            def store(self, tmp_path):
                self.path = tmp_path / "ledger"

            def make_ledger(self, namespace):
                return MyLedger(self.path, namespace=namespace)
    """
