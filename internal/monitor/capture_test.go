package monitor

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/state"
)

// savingVM can be saved. Its guest's programs are held when somebody asks.
type savingVM struct {
	*fakeVM

	mem    *guestmem.Memory
	broken error // why its state cannot be had
	asked  int   // how often it was asked to hold its programs
	slow   int   // as often it does not, at first
	short  int   // and until then not for long enough
	late   int   // and until then it does not stand still at once
}

// testMailbox is where the mailbox of a savingVM is.
const testMailbox = mailbox(2 * guestmem.PageSize)

// Pause takes long as long as the machine is late.
func (v *savingVM) Pause(ctx context.Context) error {
	if v.asked > v.slow && v.asked <= v.late {
		time.Sleep(heldLate + time.Millisecond)
	}
	return v.fakeVM.Pause(ctx)
}

func (v *savingVM) Features() []string                            { return []string{"sse2"} }
func (v *savingVM) Look(f func(mem *guestmem.Memory) error) error { return f(v.mem) }
func (v *savingVM) Save(f func([]byte, *guestmem.Memory) error) error {
	if v.broken != nil {
		return v.broken
	}
	if v.asked > v.slow && v.asked <= v.short {
		v.say(agentproto.MailboxGoOn)
	}
	return f([]byte("machine"), v.mem)
}

// box is the page of the mailbox.
func (v *savingVM) box(t *testing.T) []byte {
	t.Helper()
	b, err := v.mem.Slice(uint64(testMailbox), guestmem.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v *savingVM) held(t *testing.T) bool {
	return binary.LittleEndian.Uint32(v.box(t)[agentproto.MailboxState:]) == agentproto.MailboxFrozen
}

// say writes a state to the mailbox.
func (v *savingVM) say(state uint32) {
	if b, err := v.mem.Slice(uint64(testMailbox), agentproto.MailboxSize); err == nil {
		copy(b, agentproto.MailboxMagic)
		binary.LittleEndian.PutUint32(b[agentproto.MailboxState:], state)
	}
}

// dial calls the guest's agent, which holds all programs when it is asked to.
func (v *savingVM) dial(context.Context, uint32) (net.Conn, error) {
	host, guest := net.Pipe()
	go func() {
		defer guest.Close()
		in := agentproto.NewReader(guest, agentproto.Host)
		if _, err := in.Request(); err != nil {
			return
		}
		if v.asked++; v.asked > v.slow {
			v.say(agentproto.MailboxFrozen)
		} else {
			v.say(agentproto.MailboxArming)
		}
		out := agentproto.NewWriter(guest)
		_ = out.Frame(agentproto.TypeReport, []byte(`{"addr":8192}`))
		_ = out.Frame(agentproto.TypeOK, nil)
		_, _ = in.Next()
	}()
	return host, nil
}

// runSaving runs a VM that can be saved. kill ends it as somebody who kills it does.
func runSaving(t *testing.T, spec Spec) (i *instance, vm *savingVM, kill context.CancelCauseFunc) {
	t.Helper()
	mem, err := guestmem.Map([]guestmem.Region{{Size: 8 * guestmem.PageSize}})
	if err != nil {
		t.Fatal(err)
	}
	vm = &savingVM{fakeVM: &fakeVM{}, mem: mem}
	alive, kill := context.WithCancelCause(t.Context())
	spec.ID, spec.Dir = "0123456789ab", t.TempDir()
	env := Env{Dirs: paths.Dirs{Data: t.TempDir()}, Log: slog.New(slog.DiscardHandler)}
	i = newInstance(spec, newProgram(&console{}, nil), kill, env)
	asm := &assembly{}
	i.starts(alive, "kvm", vm, asm, vm.dial, nil)
	i.runs()
	t.Cleanup(func() {
		mem.Close()
		asm.Close()
	})
	return i, vm, kill
}

// openFiles is how many descriptors this process has.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestCaptureLetsGo: whatever becomes of a capture, the guest goes on.
func TestCaptureLetsGo(t *testing.T) {
	wrong := errors.New("no luck")
	for name, keep := range map[string]func(vm *savingVM) error{
		"kept":      func(*savingVM) error { return nil },
		"not kept":  func(*savingVM) error { return wrong },
		"not saved": func(vm *savingVM) error { vm.broken = wrong; return wrong },
	} {
		i, vm, _ := runSaving(t, Spec{})
		want := keep(vm)
		_, err := i.capture(t.Context(), state.Fork, func(_ context.Context, _ []byte, mem *guestmem.Memory) error {
			if !vm.held(t) || vm.pauses.Load() != 1 {
				t.Errorf("%s: it goes on while it is saved", name)
			}
			return want
		})
		if !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", name, err, want)
		}
		if vm.held(t) || vm.pauses.Load() != 0 || i.state() != state.Running {
			t.Errorf("%s: it is held %v, paused %d times and %s", name, vm.held(t), vm.pauses.Load(), i.state())
		}
	}
}

// TestCaptureTriesAgain: a guest that has no time to hold its programs is asked again, and
// saved without that in the end.
func TestCaptureTriesAgain(t *testing.T) {
	for name, c := range map[string]struct {
		slow, short, late int
		held              bool
		asked             int
	}{
		"at once":               {0, 0, 0, true, 1},
		"not held at first":     {2, 0, 0, true, 3},
		"not for long enough":   {0, 2, 0, true, 3},
		"late":                  {0, 0, 2, true, 3},
		"the last time":         {2, freezeTries - 1, 0, true, freezeTries},
		"never":                 {freezeTries, 0, 0, false, freezeTries},
		"never for long enough": {0, freezeTries, 0, false, freezeTries},
		"always late":           {0, 0, freezeTries, true, freezeTries},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i, vm, _ := runSaving(t, Spec{})
				vm.slow, vm.short, vm.late = c.slow, c.short, c.late
				kept := 0
				if _, err := i.capture(t.Context(), state.Fork, func(_ context.Context, b []byte, mem *guestmem.Memory) error {
					kept++
					var s saved
					err := json.NewDecoder(bytes.NewReader(b)).Decode(&s)
					if want := map[bool]uint64{true: uint64(testMailbox)}[c.held]; err != nil || s.Mailbox != want {
						t.Errorf("saved with the mailbox at %#x, %v; want %#x", s.Mailbox, err, want)
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				if kept != 1 || vm.asked != c.asked {
					t.Errorf("kept %d times, asked %d times; want once and %d", kept, vm.asked, c.asked)
				}
				if vm.held(t) || vm.pauses.Load() != 0 {
					t.Errorf("held %v, and paused %d times", vm.held(t), vm.pauses.Load())
				}
			})
		})
	}
}

// TestNothingForNobody: who asked for a pause while the VM was saved, and has gone when
// it could be made, does not get one.
func TestNothingForNobody(t *testing.T) {
	i, vm, _ := runSaving(t, Spec{})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := i.pause(gone); !errors.Is(err, context.Canceled) || vm.pauses.Load() != 0 || i.state() != state.Running {
		t.Errorf("pause: %v; the VM is %s", err, i.state())
	}
	if err := i.pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := i.resume(gone); !errors.Is(err, context.Canceled) || i.state() != state.Paused {
		t.Errorf("resume: %v; the VM is %s", err, i.state())
	}
}

// TestCaptureRefused: a guest that cannot be saved is not held up for that.
func TestCaptureRefused(t *testing.T) {
	i, vm, _ := runSaving(t, Spec{Nested: true})
	if _, err := i.capture(t.Context(), state.Fork, nil); err == nil || !strings.Contains(err.Error(), "nested") {
		t.Errorf("nested: error %v", err)
	}
	if string(vm.box(t)[:len(agentproto.MailboxMagic)]) == agentproto.MailboxMagic || vm.pauses.Load() != 0 {
		t.Error("the agent was asked, or the guest paused")
	}
}

// TestCaptureForNobody: the guest of somebody who has gone meanwhile does not stand still.
func TestCaptureForNobody(t *testing.T) {
	i, vm, _ := runSaving(t, Spec{})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := i.capture(gone, state.Fork, nil); !errors.Is(err, context.Canceled) || vm.pauses.Load() != 0 {
		t.Errorf("error %v, paused %d times", err, vm.pauses.Load())
	}
}

// TestKillEndsACapture: who kills a VM does not wait until all of it is saved.
func TestKillEndsACapture(t *testing.T) {
	i, _, kill := runSaving(t, Spec{})
	_, err := i.capture(t.Context(), state.Snapshot, func(ctx context.Context, _ []byte, _ *guestmem.Memory) error {
		kill(errKilled)
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if !errors.Is(err, errKilled) {
		t.Errorf("error %v", err)
	}
}

// TestSnapshotsLeaveNoFiles: neither one that fails nor one that does not.
func TestSnapshotsLeaveNoFiles(t *testing.T) {
	i, vm, _ := runSaving(t, Spec{})
	before := openFiles(t)
	for _, c := range []struct {
		dir    string
		rebase bool
	}{{t.TempDir(), false}, {"/none", false}, {"/none", true}} {
		if _, err := i.snapshot(t.Context(), c.dir, "0123456789ab", "", c.rebase); (err == nil) != (c.dir != "/none") {
			t.Errorf("%s: error %v", c.dir, err)
		}
	}
	// A differential one whose list of pages cannot be written.
	dir := t.TempDir()
	if _, err := i.snapshot(t.Context(), dir, "0123456789ab", "", true); err != nil {
		t.Fatal(err)
	}
	next := t.TempDir()
	if err := os.Mkdir(next+"/pages", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := i.snapshot(t.Context(), next, "0123456789ac", "0123456789ab", true); err == nil {
		t.Error("a snapshot without its list of pages")
	}
	if n := openFiles(t); n != before+1 { // the memory's
		t.Errorf("%d files are open, %d before", n, before)
	}
	if i.base != "0123456789ab" || len(vm.mem.Image().Layers) != 1 {
		t.Errorf("the memory is of %s, with %d layers", i.base, len(vm.mem.Image().Layers))
	}
}

// TestForksGiveFilesBack: a VM that is forked again and again has the files of its memory
// open, and no others that it had.
func TestForksGiveFilesBack(t *testing.T) {
	i, vm, _ := runSaving(t, Spec{})
	before := openFiles(t)
	for n := range 5 * forkLayers {
		vm.box(t)[100] = byte(n + 1)
		forked, files, err := i.fork(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, descriptor := range forked.Files {
			f, err := forked.Open(descriptor)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		for _, f := range files {
			f.Close()
		}
		if held := layered(vm.mem.Image()); held > vm.mem.Size()/2 {
			t.Fatalf("fork %d: layers list %d bytes of %d again", n, held, vm.mem.Size())
		}
		layers := len(vm.mem.Image().Layers)
		if got := openFiles(t); layers > forkLayers || got > before+layers {
			t.Fatalf("fork %d: %d layers, and %d files are open, %d before", n, layers, got, before)
		}
	}
}
