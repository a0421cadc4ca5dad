package limits

import "time"

const (
	// shortLook is the shortest time between two looks at running vCPUs. What
	// they use too much in it is held back from the next period.
	shortLook = time.Millisecond

	// maxDebt bounds, in periods' quotas, what can be held back: a hold is at most
	// that many periods long. A guest takes a hold for a stall of its own
	// processors, and QEMU answers nobody meanwhile.
	maxDebt = 20

	// maxBalance bounds, in periods' quotas, what can be used at once. More than
	// one makes up for what a busy host kept from the VM in the last period.
	maxBalance = 2
)

// account says from a VM's use of processor time when to hold it. It gets a quota
// at the start of each period. What is left at its end can be used in the next one;
// what was used too much is owed.
type account struct {
	vcpus    int
	quota    time.Duration
	balance  time.Duration // may be used before the VM is held; negative: owed
	period   time.Time     // when it began
	used     time.Duration // processor time at the last look
	lookedAt time.Time
	patience time.Duration // to look at running vCPUs no sooner than after it
}

func newAccount(vcpus int, quota time.Duration, now time.Time) *account {
	return &account{vcpus: vcpus, quota: quota, balance: quota, period: now, lookedAt: now, patience: shortLook}
}

// look takes note of the processor time used up to now. It returns whether to hold
// the VM and when to look again.
func (a *account) look(now time.Time, used time.Duration) (hold bool, wait time.Duration) {
	spent, took := used-a.used, now.Sub(a.lookedAt)
	a.used, a.lookedAt = used, now
	n := int64(now.Sub(a.period) / Period)
	a.period = a.period.Add(time.Duration(n) * Period)
	a.balance += time.Duration(n)*a.quota - spent
	a.balance = max(-maxDebt*a.quota, min(a.balance, maxBalance*a.quota))
	rest := a.period.Add(Period).Sub(now)
	if a.balance <= 0 {
		a.patience = shortLook
		more := int64(-a.balance / a.quota)
		return true, rest + time.Duration(more)*Period
	}
	// A VM that uses less than its share is looked at ever more seldom. It may
	// become busy right after a look, for as long as it can be made to pay for.
	a.patience *= 2
	if float64(spent)*float64(Period) >= float64(a.quota)*float64(took) {
		a.patience = shortLook
	}
	vcpus := time.Duration(a.vcpus)
	a.patience = min(a.patience, max(maxDebt/2*a.quota/vcpus, 5*shortLook))
	// All vCPUs may be busy from now on. A look never comes after the period's
	// end, so that what is used after it is not paid from what is lost with it.
	return false, min(max(a.balance/vcpus, a.patience), rest)
}
