package monitor

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/tempfile"
)

// TestOriginFilesAreHandedOver: what one process lists, another takes, in whichever
// combination.
func TestOriginFilesAreHandedOver(t *testing.T) {
	for _, o := range []Origin{
		{Layers: 1},
		{Layers: 3, Disks: []string{"root", "disk1"}},
		{Layers: 2, WorkingSet: true},
		{Layers: 1, Disks: []string{"disk0"}, WorkingSet: true},
	} {
		f := &OriginFiles{State: named(t, "state")}
		for i := range o.Layers {
			f.Memory = append(f.Memory, named(t, "memory"))
			var pages *os.File
			if i > 0 {
				pages = named(t, "pages")
			}
			f.Pages = append(f.Pages, pages)
		}
		for _, name := range o.Disks {
			f.Disks = append(f.Disks, named(t, name))
		}
		if o.WorkingSet {
			f.WorkingSet = named(t, "working-set")
		}
		list := f.List()
		n, err := o.Count()
		if err != nil || n != len(list) {
			t.Fatalf("%+v: %d files, %v; %d are listed", o, n, err, len(list))
		}
		got, err := o.Files(list)
		if err != nil || !slices.Equal(got.List(), list) || !slices.Equal(got.Disks, f.Disks) || got.WorkingSet != f.WorkingSet {
			t.Errorf("%+v: %+v, %v", o, got, err)
		}
		if _, err := o.Files(list[1:]); err == nil {
			t.Errorf("%+v: a file too few is enough", o)
		}
		twin, err := f.Dup()
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if _, err := twin.State.WriteString("still open"); err != nil {
			t.Error(err)
		}
		twin.Close()
	}
	if _, err := (&Origin{}).Files(nil); err == nil {
		t.Error("no layers are an origin")
	}
}

func named(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := tempfile.InMemory(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestSavedIsChecked: what a file says of a saved VM may be anything.
func TestSavedIsChecked(t *testing.T) {
	for text, want := range map[string]string{
		``:                         "unexpected end",
		`{"version":2}`:            "version is 2",
		`{"version":1,"devices":[`: "unexpected end",
		`{"version":1} x`:          "after top-level value",

		`{"version":1,"mac":"` + strings.Repeat("x", maxSavedLine) + `"}`: "its first line has",
	} {
		f := named(t, "state")
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if _, err := readSaved(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: error %v, want %q", text, err, want)
		}
	}
}

// TestRunsAreChecked: pages that memory does not have are refused.
func TestRunsAreChecked(t *testing.T) {
	f := named(t, "pages")
	if _, err := f.Write(guestmem.EncodeRuns([]guestmem.Run{{Page: 1, Count: 2}, {Page: 9, Count: 1}})); err != nil {
		t.Fatal(err)
	}
	if runs, err := readRuns(f, 10*guestmem.PageSize); err != nil || len(runs) != 2 {
		t.Errorf("%v, %v", runs, err)
	}
	if _, err := readRuns(f, 9*guestmem.PageSize); err == nil {
		t.Error("a page beyond the end was accepted")
	}
	if runs, err := readRuns(named(t, "none"), 9*guestmem.PageSize); err != nil || runs == nil {
		t.Errorf("no pages: %v, %v; nil would be a base", runs, err)
	}
}

// TestMailbox: the guest says where its mailbox is, and may lie.
func TestMailbox(t *testing.T) {
	mem, err := guestmem.Map([]guestmem.Region{{Size: 4 * guestmem.PageSize}})
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	page, err := mem.Slice(2*guestmem.PageSize, guestmem.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	for _, box := range []mailbox{2 * guestmem.PageSize, 4 * guestmem.PageSize, 4*guestmem.PageSize - 8, 1 << 63} {
		if err := box.renew(mem); err == nil {
			t.Errorf("%#x is a mailbox", uint64(box))
		}
		box.goOn(mem)
	}
	if slices.ContainsFunc(page, func(b byte) bool { return b != 0 }) {
		t.Error("something was written where no mailbox is")
	}
	if err := mailbox(0).renew(mem); err != nil {
		t.Error(err)
	}
	copy(page, agentproto.MailboxMagic)
	const box = mailbox(2 * guestmem.PageSize)
	state := func() uint32 { return binary.LittleEndian.Uint32(page[agentproto.MailboxState:]) }
	if held, err := box.frozen(mem); held || err != nil {
		t.Errorf("frozen: %v, %v", held, err)
	}
	page[agentproto.MailboxState] = byte(agentproto.MailboxFrozen)
	if held, err := box.frozen(mem); !held || err != nil {
		t.Errorf("frozen: %v, %v", held, err)
	}
	if err := box.renew(mem); err != nil || state() != agentproto.MailboxClone {
		t.Errorf("renew: state %d, %v", state(), err)
	}
	first := slices.Clone(page[agentproto.MailboxClock:agentproto.MailboxSize])
	if err := box.renew(mem); err != nil || slices.Equal(first, page[agentproto.MailboxClock:agentproto.MailboxSize]) {
		t.Error("two clones get the same seed", err)
	}
	if box.goOn(mem); state() != agentproto.MailboxGoOn {
		t.Errorf("go on: state %d", state())
	}
}

// TestIdentities: what is made for a clone is of the form that the agent takes.
func TestIdentities(t *testing.T) {
	a := &assembly{boot: agentproto.BootSpec{}}
	for _, name := range []string{"", "web", "web_1", "a.b-c", "-", "x..y", strings.Repeat("n", 63)} {
		spec := Spec{ID: "0123456789ab", Name: name, Program: agentproto.Program{Path: "/bin/true"}}
		r := a.renewal(spec)
		if err := r.Validate(); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if other := a.renewal(spec); other.MachineID == r.MachineID || other.BootID == r.BootID || slices.Equal(other.Seed, r.Seed) {
			t.Error("two clones are the same")
		}
	}
	for range 100 {
		if mac := randomMAC(); len(mac) != 6 || mac[0]&3 != 2 {
			t.Fatalf("%v is no address of one card that nobody else gives out", mac)
		}
	}
}
