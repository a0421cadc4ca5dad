package holt

import (
	"encoding/json"
	"fmt"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/monitor"
	"github.com/holtvm/holt/internal/state"
)

// monitorSpec is what the monitor is told.
type monitorSpec monitor.Spec

// spec translates the configuration for the monitor of the VM with this directory.
func (vm *VM) spec(dir *state.Dir) (monitorSpec, error) {
	var how launch
	if err := json.Unmarshal(dir.Record.Options, &how); err != nil {
		return monitorSpec{}, fmt.Errorf("read the record of VM %s: %w", dir.Record.Label(), err)
	}
	c := vm.config
	memory, err := c.MemoryBytes()
	if err != nil {
		return monitorSpec{}, err
	}
	s := monitorSpec{
		ID:            dir.Record.ID,
		Name:          dir.Record.Name,
		Dir:           dir.Path,
		Kept:          dir.Record.Kept,
		Remove:        dir.Record.Remove,
		Backend:       how.Backend,
		VCPUs:         int(c.VCPUCount),
		MemoryBytes:   uint64(memory),
		Kernel:        c.KernelPath,
		Nested:        c.Nested,
		CPUTemplate:   c.CPUTemplate,
		Root:          c.RootPath,
		Rootfs:        c.RootfsPath,
		RootOverlay:   c.RootOverlay,
		Network:       c.networkSpec(),
		ConsoleOutput: c.ConsoleOutput,
		KernelLog:     c.LogLevel >= LogDebug,
		LogLevel:      int(c.LogLevel.SlogLevel()),
		Program: agentproto.Program{
			Path:  c.ExecPath,
			Args:  c.Args,
			Cwd:   c.WorkdirPath,
			Stdin: how.Stdin,
		},
	}
	s.Hold = vm.options.hold
	if vm.origin != nil {
		s.Origin = &vm.origin.spec
	}
	for _, d := range c.MappedDirs {
		s.Shares = append(s.Shares, monitor.Share{Host: d.Host, Guest: d.Guest, ReadOnly: d.ReadOnly})
	}
	if c.RootDisk != (Disk{}) {
		s.RootDisk = &monitor.Disk{Path: c.RootDisk.Path, ReadOnly: c.RootDisk.ReadOnly}
	}
	for _, d := range c.Disks {
		s.Disks = append(s.Disks, monitor.Disk{Path: d.Path, ReadOnly: d.ReadOnly})
	}
	for _, e := range c.Env {
		s.Program.Env = append(s.Program.Env, e.String())
	}
	for _, l := range c.Rlimits {
		s.Program.Rlimits = append(s.Program.Rlimits, agentproto.Rlimit{Resource: int(l.Resource), Soft: l.Soft, Hard: l.Hard})
	}
	if c.CPUQuotaUS != nil {
		s.CPUQuotaUS = *c.CPUQuotaUS
	}
	if how.Terminal != nil {
		s.Program.TTY = true
		s.Program.Window = *how.Terminal
	}
	return s, s.Program.Validate()
}

// networkSpec is the guest's network, or nil for none.
func (c Config) networkSpec() *monitor.Network {
	mode := c.reach()
	if mode == NetworkNone {
		return nil
	}
	n := &monitor.Network{Mode: mode.String(), Address: c.subnet(), DNS: c.DNSServers, Capture: c.PacketCapture}
	for _, rule := range c.NetworkRules {
		n.Rules = append(n.Rules, rule.String())
	}
	for _, p := range c.PortMap {
		n.Ports = append(n.Ports, monitor.Port{UDP: p.Protocol == UDP, HostIP: p.HostIP, Host: p.Host, Guest: p.Guest})
	}
	return n
}
