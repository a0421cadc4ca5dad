package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

func TestLoadKVMNamesTheModule(t *testing.T) {
	modules := []module{{File: "a.ko", Name: "overlay", Group: groupOverlay}}
	if err := loadKVM(t.TempDir(), modules); err != nil {
		t.Errorf("without modules of KVM's: %v", err)
	}
	for _, name := range []string{"kvm", "kvm_amd"} {
		err := loadKVM(t.TempDir(), append(modules, module{File: "b.ko", Name: name, Group: groupKVM}))
		var e *agentproto.Error
		if !errors.As(err, &e) || e.Kind != agentproto.KindModule || !strings.Contains(e.Message, "load kernel module "+name+":") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestSettled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "current_clocksource")
	write := func(name string) {
		if err := os.WriteFile(file, []byte(name+"\n"), 0o600); err != nil {
			t.Error(err)
		}
	}
	begin := time.Now()
	settled(file, time.Minute) // there is none
	write("kvm-clock")
	settled(file, time.Minute)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("waits for what is settled: %v", took)
	}
	write("tsc-early")
	settled(file, 20*time.Millisecond) // comes back
	go func() {
		time.Sleep(50 * time.Millisecond)
		write("tsc")
	}()
	begin = time.Now()
	settled(file, time.Minute)
	if took := time.Since(begin); took < 50*time.Millisecond || took > 30*time.Second {
		t.Errorf("waited for %v, the clock settled after 50ms", took)
	}
}

func TestRefused(t *testing.T) {
	for errno, want := range map[error]bool{
		unix.ENODEV: true, unix.EOPNOTSUPP: true, unix.EIO: true,
		unix.ENOENT: false, unix.ENOEXEC: false, unix.ENOMEM: false,
	} {
		if got := refused(errno); got != want {
			t.Errorf("%v: %v, want %v", errno, got, want)
		}
	}
}

func TestCheckKVM(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kvm")
	var e *agentproto.Error
	if err := checkKVM(path); !errors.As(err, &e) || e.Kind != agentproto.KindModule || !strings.Contains(e.Message, "no SVM or VMX") {
		t.Errorf("nothing there: %v", err)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := checkKVM(path); !errors.Is(err, unix.EISDIR) {
		t.Errorf("a directory: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkKVM(path); err != nil {
		t.Errorf("a file that opens: %v", err)
	}
}
