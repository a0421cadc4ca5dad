// Package monitor is one VM's life on the host: it assembles devices and a
// kernel, starts a backend, gives the guest's agent its instructions, carries
// the program's streams, and cleans up.
//
// Whoever wants a VM speaks to its monitor over one stream connection, in the
// frames of agentproto's host end; the monitor is a relay with an opinion. It
// usually runs as a process of its own (holt monitor), so that a guest can take
// down nobody else's.
package monitor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
)

// SpecVersion is the version of Spec. A client and a monitor from different
// builds of Holt must agree on it.
const SpecVersion = 4

// maxSpec bounds an encoded Spec, in bytes.
const maxSpec = 4 << 20

// Spec says which VM to run. It is made from a valid holt.Config.
type Spec struct {
	Version int `json:"version"`
	// ID and Name are the VM's, and Dir is its directory, see package state. The
	// monitor is in charge of it.
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	Dir  string `json:"dir"`
	// Kept says that the VM does not end with the client that starts it, that its
	// output is kept in files, and that its directory stays; with Remove it goes in
	// the end.
	Kept   bool `json:"kept,omitempty"`
	Remove bool `json:"remove,omitempty"`

	Backend     string `json:"backend"` // auto, kvm or qemu
	VCPUs       int    `json:"vcpus"`
	MemoryBytes uint64 `json:"memory_bytes"`
	Kernel      string `json:"kernel,omitempty"` // path of an image; empty is the default kernel
	Nested      bool   `json:"nested,omitempty"` // the guest has a /dev/kvm

	CPUTemplate string `json:"cpu_template,omitempty"` // see hypervisor.Machine
	// Hold gets the guest ready and runs no program: the VM is to be saved.
	Hold bool `json:"hold,omitempty"`
	// Origin is where the VM goes on from; nil boots it.
	Origin *Origin `json:"origin,omitempty"`

	CPUQuotaUS uint64 `json:"cpu_quota_us,omitempty"` // µs in each limits.Period, all vCPUs together; 0 is no limit
	// ControlGroup is the directory of the control group in which the monitor was
	// started, and which has the VM's Limits; empty if there is none.
	ControlGroup string `json:"control_group,omitempty"`

	// The root is one of these.
	Root     string `json:"root,omitempty"`   // host directory
	Rootfs   string `json:"rootfs,omitempty"` // gzip-compressed cpio archive
	RootDisk *Disk  `json:"root_disk,omitempty"`

	RootOverlay bool     `json:"root_overlay,omitempty"`
	Shares      []Share  `json:"shares,omitempty"`
	Disks       []Disk   `json:"disks,omitempty"`
	Network     *Network `json:"network,omitempty"` // nil: none

	Program       agentproto.Program `json:"program"`
	ConsoleOutput string             `json:"console_output,omitempty"` // host file
	KernelLog     bool               `json:"kernel_log,omitempty"`     // the whole kernel log goes to the console
	LogLevel      int                `json:"log_level"`                // a slog.Level
}

// Logger writes to w what the specification's log level lets through.
func (s Spec) Logger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.Level(s.LogLevel)}))
}

// startBudget is the processor time that each vCPU may use until the agent is up.
func (s Spec) startBudget() time.Duration {
	if s.Origin != nil {
		return renewBudget
	}
	return bootBudget
}

// base is the id of the snapshot that guest memory is of at first, if it is of one.
func (s Spec) base() string {
	if s.Origin == nil {
		return ""
	}
	return s.Origin.Snapshot
}

// Share is a host directory that the guest sees at another path.
type Share struct {
	Host     string `json:"host"`
	Guest    string `json:"guest"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Disk is a raw disk image on the host.
type Disk struct {
	Path     string `json:"path"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Network is the guest's network.
type Network struct {
	Mode    string           `json:"mode"`            // as policy.ParseMode takes it
	Rules   []string         `json:"rules,omitempty"` // as policy.ParseRule takes them
	Address netip.Prefix     `json:"address"`         // the guest's, and its network
	Ports   []Port           `json:"ports,omitempty"`
	DNS     []netip.AddrPort `json:"dns,omitempty"`     // empty: the host's resolver
	Capture string           `json:"capture,omitempty"` // host file
}

// Port is a guest port that is published on the host.
type Port struct {
	UDP    bool       `json:"udp,omitempty"`
	HostIP netip.Addr `json:"host_ip,omitzero"` // zero: every address
	Host   uint16     `json:"host"`
	Guest  uint16     `json:"guest"`
}

// WriteSpec encodes s.
func WriteSpec(w io.Writer, s Spec) error {
	s.Version = SpecVersion
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the VM's specification: %w", err)
	}
	if len(b) > maxSpec {
		return fmt.Errorf("encode the VM's specification: %d bytes, at most %d (too many arguments or variables?)", len(b), maxSpec)
	}
	_, err = w.Write(b)
	return err
}

// ReadSpec decodes a Spec up to the end of r. A Spec of another version is an
// error that says what to do.
func ReadSpec(r io.Reader) (Spec, error) {
	var s Spec
	b, err := io.ReadAll(io.LimitReader(r, maxSpec+1))
	if err != nil {
		return s, fmt.Errorf("read the VM's specification: %w", err)
	}
	var v struct{ Version int }
	if err := json.Unmarshal(b, &v); err != nil {
		return s, fmt.Errorf("read the VM's specification: %w", err)
	}
	if v.Version != SpecVersion {
		return s, fmt.Errorf("the program speaks version %d of Holt's monitor protocol and this holt binary version %d: install the same version of both", v.Version, SpecVersion)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, fmt.Errorf("read the VM's specification: %w", err)
	}
	return s, nil
}
