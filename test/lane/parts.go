package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// part is a test binary, run in one go. In an outer VM each part has its own.
type part struct {
	name    string
	pkg     string // directory below the repository's root
	run     string // -test.run; "" for all
	skip    string // -test.skip
	timeout time.Duration
	debian  bool // needs the Debian root directory
	long    bool // only when it is named
}

// parts are what the lane consists of, quick ones first.
var parts = []part{
	{name: "kvmapi", pkg: "internal/kvmapi", timeout: 2 * time.Minute},
	{name: "probe", pkg: "internal/hypervisor", timeout: 2 * time.Minute},
	// Random code may hang an emulated SVM, and hundreds of machines one after the other
	// become slow there: the unit lane has both, on any /dev/kvm.
	{name: "machine", pkg: "internal/hypervisor/kvm", run: "^Test", skip: "^TestMachinesLeaveNothing$", timeout: 5 * time.Minute},
	{name: "vmm", pkg: "test/kvm", skip: longVMM + "|" + clones, timeout: 20 * time.Minute},
	{name: "clones", pkg: "test/kvm", run: clones, timeout: 15 * time.Minute, debian: true},
	{name: "guests", pkg: "test/tcg", skip: "^(" + notGuests + "|" + longGuests + "|" + sameGuests + ")$|" + sameCases + "|^TestExitStatus$/^timeout$", timeout: 20 * time.Minute, debian: true},
	{name: "long", pkg: "test/tcg", run: "^(" + longGuests + "|" + sameGuests + "|TestFio)$|" + sameCases, timeout: time.Hour, debian: true, long: true},
	{name: "longclones", pkg: "test/kvm", run: clones, timeout: 8 * time.Hour, debian: true, long: true},
	{name: "longvmm", pkg: "test/kvm", run: "^(TestBootsLeaveNothing|TestClocksAndPause)$|" + longVMM, timeout: time.Hour, long: true},
}

// notGuests are tests of test/tcg that are not for this lane. The first ones build
// programs, are about the command line alone, or end before a guest boots. The others
// are about QEMU, are run by another test in its guest, give a boot less time than it
// takes there, or need what an outer VM does not have: user attributes of files, and
// cables between network namespaces. Many VMs, programs and files are for where they
// are cheap.
const notGuests = "TestKernelAvoidsCmpxchg16b|TestFromAnotherModule|TestBinaries|TestBadInput|TestDocs|TestTakenPort|TestBadDisks|TestBadMemoryRoots" +
	"|TestNoQEMU|TestNested|TestPosixSuite|TestInterruptDuringBoot|TestUnpackArchive|TestNetworkReach|TestSpoofedSources" +
	"|TestLifecycleWithoutAGuest|TestKilledCreate|TestRandomLifecycle|TestLifecycleWorker" +
	"|TestManyVMs|TestManyExecs|TestConcurrentExecs|TestCopyTree|TestCopyLargeFile"

// longGuests have much to do.
const longGuests = "TestOwnKernelRunsPrograms|TestOwnKernelRunsSystemd|TestOwnKernelRunsDocker|TestManyAtOnce" +
	"|TestPosix|TestPythonReadsAHostDirectory|TestStdinThroughCat|TestBulk|TestFloods|TestPublishedPorts"

// sameGuests are about what is the same on every backend: the host's side of disks
// and ports, the agent, the command line. The tcg lane has them for every change;
// here they are in the long part.
const sameGuests = "TestCapture|TestDiskInUse|TestImpatientInterrupts|TestInProcessLeavesNothing|TestNetworkNames|TestOutputAndErrorsNeverMix" +
	"|TestOwnKernel|TestPowerCut|TestQuietConsole|TestRootDisk|TestRunEndsWithItsContext|TestSignals" +
	"|TestEndsOfKeptVMs|TestKeptFromGo|TestKilledClients|TestKilledMonitor|TestMemoryExhausted|TestShellSession"

// sameCases are cases of other tests of which the same is true, or that another
// test of this lane has.
const sameCases = "^TestCPUQuota$/^half_of_one$|^TestExitStatus$/^(not_found|not_executable|a_directory|segmentation_fault|success)|" +
	"^TestDeathOfTheGuest$/^crash_of_the_agent$|^TestGuestFailures$/^kernel_that_spins$|^TestKillAnyProcess$/^monitor$|^TestMemoryComesBack$/amd64$"

// clones are about machines that go on where another was saved.
const clones = "^Test(Clone|Snapshot|Warm|Pool)"

// longVMM is the middle one of three machines, on the second kernel.
const longVMM = "^TestBoots$/^debian$/^2_CPUs"

// choose returns the parts with these names, all but the long ones for none.
func choose(names []string) ([]part, error) {
	if len(names) == 0 {
		return slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return p.long }), nil
	}
	var chosen []part
next:
	for _, name := range names {
		for _, p := range parts {
			if p.name == name {
				chosen = append(chosen, p)
				continue next
			}
		}
		return nil, fmt.Errorf("there is no part %q; -list lists them", name)
	}
	return chosen, nil
}

// build compiles a part's test binary, which needs nothing of the host then. The
// race detector needs a C library, which the guests that a binary is shared into do
// not have: then it watches the holt that the tests run, and those tests that bring
// no guest half.
func (l *lane) build(ctx context.Context, p part) (string, error) {
	binary := filepath.Join(l.repo, "bin", "lane", p.name+".test")
	args := []string{"test", "-c", "-tags", "kvm,tcg", "-o", binary}
	cgo := "CGO_ENABLED=0"
	if l.race && strings.HasPrefix(p.pkg, "internal/") {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	if err := l.compile(ctx, cgo, append(args, "./"+p.pkg)); err != nil {
		return "", fmt.Errorf("build the tests of %s: %w", p.pkg, err)
	}
	if _, err := os.Stat(binary); err != nil {
		return "", fmt.Errorf("build the tests of %s: there are none", p.pkg)
	}
	return binary, nil
}

// buildRacy compiles holt with the race detector, for the tests to run.
func (l *lane) buildRacy(ctx context.Context) (string, error) {
	binary := filepath.Join(l.repo, "bin", "lane", "holt")
	if err := l.compile(ctx, "CGO_ENABLED=1", []string{"build", "-race", "-o", binary, "./cmd/holt"}); err != nil {
		return "", fmt.Errorf("build holt with the race detector: %w", err)
	}
	return binary, nil
}

func (l *lane) compile(ctx context.Context, cgo string, args []string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = l.repo
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// arguments of a part's test binary.
func (l *lane) arguments(p part) []string {
	args := []string{"-test.v", "-test.timeout", p.timeout.String()}
	if l.outer { // its one CPU has time while a test waits
		args = append(args, "-test.parallel", "2")
	}
	run := p.run
	if l.filter != "" {
		run = l.filter
	}
	if run != "" {
		args = append(args, "-test.run", run)
	}
	if p.skip != "" {
		args = append(args, "-test.skip", p.skip)
	}
	return args
}
