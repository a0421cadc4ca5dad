package monitor

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/virtio"
)

// maxLayers bounds the files of an image: what a chain of snapshots may have.
const maxLayers = 64

// Origin says from which saved VM one goes on, instead of booting. What was saved is
// in files that the monitor is handed open, in the order of OriginFiles.List.
type Origin struct {
	// Layers is the number of files of guest memory, the base first.
	Layers int `json:"layers"`
	// Disks are the serials of those whose content was saved.
	Disks []string `json:"disks,omitempty"`
	// Moved are the guest's paths of shared directories that are others now.
	Moved []string `json:"moved,omitempty"`
	// WorkingSet says that there are pages to be made ready before the guest runs.
	WorkingSet bool `json:"working_set,omitempty"`
	// Snapshot is the id of the snapshot that the memory's files are of, if any.
	Snapshot string `json:"snapshot,omitempty"`
}

// OriginFiles are the open files of an Origin. All of them may be of untrusted
// content.
type OriginFiles struct {
	State *os.File // what capture wrote
	// Memory are the layers, and Pages says for each which pages of it count, see
	// guestmem.EncodeRuns; the base has none.
	Memory, Pages []*os.File
	Disks         []*os.File // in the order of Origin.Disks
	WorkingSet    *os.File   // runs of pages; nil if there is none
}

// List are all files, in the order in which they are handed over.
func (f *OriginFiles) List() []*os.File {
	list := []*os.File{f.State}
	for i, m := range f.Memory {
		list = append(list, m)
		if i > 0 {
			list = append(list, f.Pages[i])
		}
	}
	list = append(list, f.Disks...)
	if f.WorkingSet != nil {
		list = append(list, f.WorkingSet)
	}
	return list
}

// Dup returns the same files once more, for another to close.
func (f *OriginFiles) Dup() (*OriginFiles, error) {
	var copies []*os.File
	for _, file := range f.List() {
		twin, err := dup(file)
		if err != nil {
			CloseAll(copies)
			return nil, err
		}
		copies = append(copies, twin)
	}
	o := Origin{Layers: len(f.Memory), Disks: make([]string, len(f.Disks)), WorkingSet: f.WorkingSet != nil}
	return o.Files(copies)
}

// dup opens a file once more.
func dup(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hand over the saved VM's files: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Close closes all files.
func (f *OriginFiles) Close() { CloseAll(f.List()) }

// CloseAll closes files that nobody wrote to, so that there is nothing to be told.
func CloseAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// Count is how many files there are.
func (o *Origin) Count() (int, error) {
	if o.Layers < 1 || o.Layers > maxLayers {
		return 0, fmt.Errorf("the VM's origin has %d layers of memory: 1 to %d are possible", o.Layers, maxLayers)
	}
	n := 2*o.Layers + len(o.Disks) // the state in the place of the base's pages
	if o.WorkingSet {
		n++
	}
	return n, nil
}

// Files tells the files that were handed over from each other.
func (o *Origin) Files(all []*os.File) (*OriginFiles, error) {
	if n, err := o.Count(); err != nil || n != len(all) {
		return nil, cmp.Or(err, fmt.Errorf("the VM's origin has %d files, %d are handed over", n, len(all)))
	}
	f := &OriginFiles{State: all[0], Memory: []*os.File{all[1]}, Pages: []*os.File{nil}}
	rest := all[2:]
	for ; len(f.Memory) < o.Layers; rest = rest[2:] {
		f.Memory, f.Pages = append(f.Memory, rest[0]), append(f.Pages, rest[1])
	}
	f.Disks, rest = rest[:len(o.Disks)], rest[len(o.Disks):]
	if o.WorkingSet {
		f.WorkingSet = rest[0]
	}
	return f, nil
}

// image is guest memory of size bytes in these files.
func (f *OriginFiles) image(size uint64) (*guestmem.Image, error) {
	img := &guestmem.Image{Size: size}
	for i, m := range f.Memory {
		l := guestmem.Layer{File: m}
		if i > 0 {
			runs, err := readRuns(f.Pages[i], size)
			if err != nil {
				return nil, err
			}
			l.Runs = runs
		}
		img.Layers = append(img.Layers, l)
	}
	return img, nil
}

// readRuns reads the runs of pages that a file has, of memory of size bytes.
func readRuns(f *os.File, size uint64) ([]guestmem.Run, error) {
	pages := size / guestmem.PageSize
	b, err := readWhole(f, int64(pages)*8)
	if err != nil {
		return nil, err
	}
	runs, err := guestmem.DecodeRuns(b, uint32(pages))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if runs == nil {
		runs = []guestmem.Run{} // nil would be a base
	}
	return runs, nil
}

// readWhole reads a file from its beginning, whichever position it has: clones have
// it in common.
func readWhole(f *os.File, most int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are possible", f.Name(), info.Size(), most)
	}
	b := make([]byte, info.Size())
	_, err = io.ReadFull(io.NewSectionReader(f, 0, info.Size()), b)
	return b, err
}

// savedVersion is the version of saved.
const savedVersion = 1

// maxSaved bounds an encoded saved, and maxSavedLine what is before the machine's part,
// in bytes.
const (
	maxSaved     = 256 << 20
	maxSavedLine = 1 << 20
)

// saved is what capture writes of a VM beside its memory and disks.
type saved struct {
	Version int      `json:"version"`
	Devices []string `json:"devices"`           // see deviceNames
	Mailbox uint64   `json:"mailbox,omitempty"` // of the guest's agent, if it held the programs; else 0
	MAC     string   `json:"mac,omitempty"`     // of the network card
	Program bool     `json:"program"`           // the main program was started

	machine []byte // the backend's; what follows the JSON
}

// encode is a line of JSON with the machine's state behind it.
func (s saved) encode() ([]byte, error) {
	s.Version = savedVersion
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	b = append(append(b, '\n'), s.machine...)
	if len(b) > maxSaved {
		return nil, fmt.Errorf("the machine's state has %d bytes, at most %d are possible", len(b), maxSaved)
	}
	return b, nil
}

// readSaved reads what capture wrote. The machine's part is the backend's to check.
func readSaved(f *os.File) (s saved, err error) {
	b, err := readWhole(f, maxSaved)
	if err == nil {
		line, machine, _ := bytes.Cut(b, []byte{'\n'})
		s.machine = machine
		if len(line) > maxSavedLine {
			err = fmt.Errorf("its first line has %d bytes, at most %d are possible", len(line), maxSavedLine)
		} else {
			err = json.Unmarshal(line, &s)
		}
	}
	if err == nil && s.Version != savedVersion {
		err = fmt.Errorf("its version is %d, this holt knows %d", s.Version, savedVersion)
	}
	if err != nil {
		return s, fmt.Errorf("read the saved VM: %w", err)
	}
	return s, nil
}

// originate makes the machine one that goes on from where another was saved. The
// agent is told later how its guest is to be another one.
func (a *assembly) originate(o *Origin, f *OriginFiles) (err error) {
	if a.saved, err = readSaved(f.State); err != nil {
		return err
	}
	if names := a.deviceNames(); !slices.Equal(names, a.saved.Devices) {
		return fmt.Errorf("the saved VM has other devices: %q, and these would be %q", a.saved.Devices, names)
	}
	img, err := f.image(a.machine.MemoryBytes)
	if err != nil {
		return fmt.Errorf("read the saved VM's memory: %w", err)
	}
	var ready []guestmem.Run
	if f.WorkingSet != nil {
		if ready, err = readRuns(f.WorkingSet, a.machine.MemoryBytes); err != nil {
			return fmt.Errorf("read the saved VM's working set: %w", err)
		}
	}
	a.machine.Origin = &hypervisor.Origin{State: a.saved.machine, Memory: img, WorkingSet: ready, Ready: func(mem *guestmem.Memory) error {
		return mailbox(a.saved.Mailbox).renew(mem)
	}}
	return nil
}

// deviceNames tell the devices of one VM from those of another, in their order.
func (a *assembly) deviceNames() []string {
	names := make([]string, len(a.machine.Devices))
	for i, d := range a.machine.Devices {
		names[i] = d.Type().String()
	}
	name := func(d virtio.Device, text string) {
		names[slices.Index(a.machine.Devices, d)] += " " + text
	}
	for _, s := range a.shares {
		name(s.dev, s.path)
	}
	for _, d := range a.disks {
		name(d.dev, d.name)
	}
	return names
}
