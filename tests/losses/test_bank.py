"""CodeBank: rows are those of the latest forward, and the running column sum is theirs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthash.losses import CodeBalance, CodeBank


def exact(bank):
    return bank.codes.double().sum(0)


def test_update_overwrites_rows_and_returns_the_sum_of_the_others():
    start = torch.randn(6, 4)
    bank = CodeBank(start)
    h, index = torch.randn(2, 4, requires_grad=True), torch.tensor([5, 1])
    rest = bank.update(index, h)
    assert torch.equal(bank.codes[index], h)
    others = [0, 2, 3, 4]
    assert torch.equal(bank.codes[others], start[others])
    torch.testing.assert_close(rest, start[others].double().sum(0))
    torch.testing.assert_close(bank.column_sum, exact(bank))
    assert not bank.codes.requires_grad
    assert not rest.requires_grad
    assert bank.codes.data_ptr() != start.data_ptr()
    assert (len(bank), repr(bank)) == (6, "CodeBank(6, bits=4)")


def test_balance_of_a_batch_is_that_of_the_whole_bank():
    bank = CodeBank(torch.randn(30, 8))
    h, index = torch.randn(7, 8, requires_grad=True), torch.randperm(30)[:7]
    loss = CodeBalance()(h, bank.update(index, h))
    loss.backward()
    assert loss.item() == pytest.approx(exact(bank).square().sum().item(), rel=1e-5)
    torch.testing.assert_close(h.grad.double(), 2 * exact(bank).expand(7, -1), rtol=1e-5, atol=1e-5)


def test_thousands_of_updates_do_not_drift():
    bank = CodeBank(torch.randn(64, 8))
    g = torch.Generator().manual_seed(1)
    drawn = 3 * torch.randn(1000, 4, 8, generator=g)
    rows = torch.stack([torch.randperm(64, generator=g)[:4] for _ in range(997)])
    largest = 0.0
    for step in range(20_000):
        bank.update(rows[step % 997], drawn[step % 1000])
        largest = max(largest, float(bank.column_sum.abs().max())) if step % 1000 == 0 else largest
    assert (bank.column_sum - exact(bank)).abs().max() < 1e-10 * largest


@settings(deadline=None)
@given(st.lists(st.sets(st.integers(0, 8), min_size=1), max_size=20), st.integers(0, 2**31))
def test_sum_is_right_after_any_updates(updates, seed):
    g = torch.Generator().manual_seed(seed)
    bank = CodeBank(torch.randn(9, 3, generator=g))
    for rows in updates:
        bank.update(torch.tensor(sorted(rows)), torch.randn(len(rows), 3, generator=g))
        torch.testing.assert_close(bank.column_sum, exact(bank), rtol=1e-12, atol=1e-12)


def test_state_goes_on_bit_for_bit():
    steps = [(torch.randperm(20)[:3], torch.randn(3, 8)) for _ in range(40)]
    bank = CodeBank(torch.randn(20, 8))
    for step in steps[:20]:
        bank.update(*step)
    state = {name: value.clone() for name, value in bank.state_dict().items()}
    other = CodeBank(torch.zeros(20, 8))
    other.load_state_dict(state)
    for step in steps[20:]:
        assert torch.equal(bank.update(*step), other.update(*step))
    assert torch.equal(bank.codes, other.codes)
    assert torch.equal(bank.column_sum, other.column_sum)


def test_refresh_after_codes_were_written():
    bank = CodeBank(torch.randn(5, 3))
    bank.codes.fill_(float("nan"))
    bank.update(torch.tensor([0]), torch.ones(1, 3))
    assert bank.column_sum.isnan().all()
    bank.codes.fill_(2.0)
    bank.refresh()
    assert bank.column_sum.tolist() == [10.0] * 3


def test_sum_stays_wide_when_the_codes_change_dtype():
    bank = CodeBank(torch.randn(5, 3)).half()
    assert (bank.codes.dtype, bank.column_sum.dtype) == (torch.float16, torch.float64)
    assert torch.equal(bank.column_sum, exact(bank))
    bank.update(torch.tensor([2]), torch.full((1, 3), 0.1))  # what is stored is what is summed
    torch.testing.assert_close(bank.column_sum, exact(bank), rtol=1e-12, atol=1e-12)
    bank = bank.float()
    assert (bank.codes.dtype, bank.column_sum.dtype) == (torch.float32, torch.float64)
    assert list(bank.state_dict()) == ["codes", "column_sum"]
    assert bank.to("meta").column_sum.device.type == "meta"


def test_narrow_codes_are_stored_wide():
    bank = CodeBank(torch.zeros(3, 2))
    bank.update(torch.tensor([1]), torch.ones(1, 2, dtype=torch.bfloat16))
    assert bank.codes.dtype == torch.float32
    assert bank.column_sum.tolist() == [1.0, 1.0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_device():
    bank = CodeBank(torch.randn(50, 16)).cuda()
    h, index = torch.randn(8, 16, device="cuda"), torch.randperm(50, device="cuda")[:8]
    bank.update(index, h)
    assert torch.equal(bank.codes[index], h)
    torch.testing.assert_close(bank.column_sum, exact(bank))


BANK = (5, 3)


@pytest.mark.parametrize(
    ("index", "h", "message"),
    [
        (torch.tensor([0, 5]), torch.ones(2, 3), "CodeBank: index must be from 0 to 4, got 5"),
        (torch.tensor([-1, 4]), torch.ones(2, 3), "CodeBank: index must be from 0 to 4, got -1"),
        (torch.tensor([3, 1, 3]), torch.ones(3, 3), "CodeBank: index must name a row once, got 3 twice"),
        (
            torch.tensor([1]),
            torch.ones(2, 3),
            r"CodeBank: index must be int64 \[2\] on cpu like the rows of h, got int64",
        ),
        (torch.tensor([1.0]), torch.ones(1, 3), r"CodeBank: index must be int64 \[1\] .*, got float32 \[1\] on cpu"),
        (torch.tensor([1]), torch.ones(1, 4), r"CodeBank: h must be \[n, 3\] like codes, got \[1, 4\]"),
        (torch.tensor([1]), torch.ones(1, 3).long(), "CodeBank: h must be float64, float32, float16 or bfloat16"),
    ],
)
def test_refuses_and_changes_nothing(index, h, message):
    bank = CodeBank(torch.ones(BANK))
    with pytest.raises(ValueError, match=message):
        bank.update(index, h)
    assert torch.equal(bank.codes, torch.ones(BANK))
    assert bank.column_sum.tolist() == [5.0] * 3


def test_refuses_codes_that_are_none():
    with pytest.raises(ValueError, match="CodeBank: codes must be float32 or float64, got float16"):
        CodeBank(torch.ones(2, 2).half())
    with pytest.raises(ValueError, match="CodeBank: codes must be a matrix"):
        CodeBank(torch.ones(2))


def test_update_compiles_as_one_graph():
    start, h = torch.randn(6, 4), torch.randn(2, 4)
    index = torch.tensor([4, 1])
    got, want = CodeBank(start), CodeBank(start)
    rest = torch.compile(lambda i, x: got.update(i, x), fullgraph=True, backend="aot_eager")(index, h)
    torch.testing.assert_close(rest, want.update(index, h))
    torch.testing.assert_close(got.codes, want.codes)
    torch.testing.assert_close(got.column_sum, want.column_sum)
