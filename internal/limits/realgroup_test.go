package limits

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// These tests run where the kernel has control groups of version 2 with the
// controllers in question, and this process may make groups: as root on most hosts,
// and in any Holt guest.

// taskVar makes the test binary a program that is to be limited.
const taskVar = "HOLT_TEST_TASK"

func TestMain(m *testing.M) {
	task := strings.Fields(os.Getenv(taskVar))
	if len(task) == 0 {
		os.Exit(m.Run())
	}
	if err := tasks[task[0]](task[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

var tasks = map[string]func(args []string) error{
	"sleep": func([]string) error {
		time.Sleep(time.Hour)
		return nil
	},
	// spin THREADS TIME
	"spin": func(args []string) error {
		threads, err := strconv.Atoi(args[0])
		d, derr := time.ParseDuration(args[1])
		end := time.Now().Add(d)
		var all sync.WaitGroup
		for range threads {
			all.Go(func() {
				for time.Now().Before(end) {
				}
			})
		}
		all.Wait()
		return errors.Join(err, derr)
	},
	// fill BYTES
	"fill": func(args []string) error {
		n, err := strconv.Atoi(args[0])
		b := make([]byte, n)
		for i := 0; i < n; i += 4096 {
			b[i] = 1
		}
		return err
	},
	// fork PROCESSES
	"fork": func(args []string) error {
		n, err := strconv.Atoi(args[0])
		for range n {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{taskVar + "=sleep", "GOMAXPROCS=1"}
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := cmd.Start(); err != nil {
				return err
			}
			defer cmd.Process.Kill()
		}
		return err
	},
	// group makes a group, starts something in it, and prints where.
	"group": func([]string) error {
		g, err := NewGroup("inner", Limits{CPUQuota: 10 * time.Millisecond})
		if err != nil {
			return err
		}
		cmd := exec.Command("cat", "/proc/self/cgroup")
		cmd.Stdout = os.Stdout
		if err := g.Start(cmd); err != nil {
			return err
		}
		return errors.Join(cmd.Wait(), g.Remove())
	},
}

func taskCommand(task string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), taskVar+"="+task)
	return cmd
}

// realGroup makes a group, which is removed at the end of the test.
func realGroup(t *testing.T, controller string, l Limits) *Group {
	t.Helper()
	g, err := NewGroup(strings.NewReplacer("/", "-", ".", "-").Replace(t.Name()), l)
	if errors.Is(err, ErrNoGroup) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(g.Path()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", g.Path(), err)
		}
	})
	if _, err := os.Stat(filepath.Join(g.Path(), controller+".max")); err != nil {
		t.Skipf("the %s controller cannot be had", controller)
	}
	return g
}

func TestGroupLimitsProcessorTime(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 5 s each")
	}
	for _, c := range []struct {
		threads int
		quota   time.Duration
	}{
		{1, 20 * time.Millisecond}, {2, 50 * time.Millisecond}, {1, 50 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%v for %d", c.quota, c.threads), func(t *testing.T) {
			g := realGroup(t, "cpu", Limits{CPUQuota: c.quota, Memory: 1 << 30, Tasks: 1000})
			for try := 1; ; try++ {
				cmd := taskCommand(fmt.Sprintf("spin %d 5s", c.threads))
				start := time.Now()
				if err := g.Start(cmd); err != nil {
					t.Fatal(err)
				}
				if err := cmd.Wait(); err != nil {
					t.Fatal(err)
				}
				used, took := cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime(), time.Since(start)
				part, want := float64(used)/float64(took), float64(c.quota)/float64(Period)
				t.Logf("used %.4f processors in %v, asked for %.4f (%+.1f %%)", part, took.Round(time.Millisecond), want, 100*(part/want-1))
				if part > want*0.9 && part < want*1.1 {
					return
				}
				if try == 2 {
					t.FailNow()
				}
				t.Log("once more: this host may be busy")
			}
		})
	}
}

func TestGroupLimitsMemory(t *testing.T) {
	g := realGroup(t, "memory", Limits{Memory: 64 << 20})
	// Where there is swap, the group may use it.
	_ = os.WriteFile(filepath.Join(g.Path(), "memory.swap.max"), []byte("0"), 0o644)
	for _, c := range []struct {
		mib int
		ok  bool
	}{{16, true}, {128, false}} {
		cmd := taskCommand(fmt.Sprintf("fill %d", c.mib<<20))
		if err := g.Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); (err == nil) != c.ok {
			t.Errorf("%d MiB: %v", c.mib, err)
		}
	}
}

func TestGroupLimitsTasks(t *testing.T) {
	g := realGroup(t, "pids", Limits{Tasks: 200})
	for _, c := range []struct {
		n  int
		ok bool
	}{{5, true}, {200, false}} {
		cmd := taskCommand(fmt.Sprintf("fork %d", c.n))
		if err := g.Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); (err == nil) != c.ok {
			t.Errorf("%d processes: %v", c.n, err)
		}
	}
}

// TestRemoveEndsWhatIsLeft: nothing outlives its group.
func TestRemoveEndsWhatIsLeft(t *testing.T) {
	g := realGroup(t, "", Limits{Memory: 1 << 30, Tasks: 100})
	cmd := taskCommand("sleep")
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- cmd.Wait() }()
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("it lives on")
		_ = cmd.Process.Kill()
		<-ended
	}
	if err := os.Mkdir(g.Path(), 0o755); err != nil { // for realGroup to remove
		t.Error(err)
	}
}

// TestDelegation has another user make a group where that was delegated to him, and
// fail where it was not.
func TestDelegation(t *testing.T) {
	const user = 12345
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	outer := realGroup(t, "cpu", Limits{CPUQuota: 50 * time.Millisecond, Memory: 1 << 30, Tasks: 1000})
	self := filepath.Join(t.TempDir(), "test") // where the other user may read it
	copyFile(t, "/proc/self/exe", self)
	for dir := filepath.Dir(self); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	session := &Group{dir: filepath.Join(outer.Path(), "session")}
	if err := os.Mkdir(session.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		os.Remove(filepath.Join(outer.Path(), commonName))
		if err := session.Remove(); err != nil {
			t.Error(err)
		}
	})
	run := func() (string, error) {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), taskVar+"=group")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		out := new(strings.Builder)
		cmd.Stdout = out
		err := session.Start(cmd)
		if err == nil {
			err = cmd.Wait()
		}
		return out.String(), err
	}
	if out, err := run(); err == nil || !strings.Contains(out, ErrNoGroup.Error()) {
		t.Errorf("without a delegation: %v, %s", err, out)
	}
	for _, name := range []string{"", "cgroup.procs", "cgroup.threads", subtree, "session", "session/cgroup.procs"} {
		if err := os.Chown(filepath.Join(outer.Path(), name), user, user); err != nil {
			t.Fatal(err)
		}
	}
	out, err := run()
	if err != nil || !strings.Contains(out, filepath.Base(outer.Path())+"/holt/inner.") {
		t.Errorf("with a delegation: %v, %s", err, out)
	}
	t.Logf("it ran in %s", out)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkStart is what a group costs at the start of a VM. Compare with "plain".
func BenchmarkStart(b *testing.B) {
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			cmd := exec.Command("/proc/self/exe", "-test.run=^$")
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			cmd.Wait()
			b.StartTimer()
		}
	})
	b.Run("group", func(b *testing.B) {
		for b.Loop() {
			g, err := NewGroup("bench", Limits{CPUQuota: 50 * time.Millisecond, Memory: 1 << 30, Tasks: 1000})
			if err != nil {
				b.Skip(err)
			}
			cmd := exec.Command("/proc/self/exe", "-test.run=^$")
			if err := g.Start(cmd); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			cmd.Wait()
			if err := g.Remove(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("none to be had", func(b *testing.B) {
		for b.Loop() {
			if _, err := (hierarchy{top: b.TempDir(), own: "/"}).newGroup("bench", Limits{CPUQuota: 50 * time.Millisecond}, true); err == nil {
				b.Fatal("a group of nothing")
			}
		}
	})
}
