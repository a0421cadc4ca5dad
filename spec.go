package holt

import (
	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/monitor"
)

// monitorSpec is what the monitor is told.
type monitorSpec monitor.Spec

// spec translates the configuration for the monitor.
func (vm *VM) spec() (monitorSpec, error) {
	c := vm.config
	memory, err := c.MemoryBytes()
	if err != nil {
		return monitorSpec{}, err
	}
	s := monitorSpec{
		Backend:       vm.options.backend,
		VCPUs:         int(c.VCPUCount),
		MemoryBytes:   uint64(memory),
		Kernel:        c.KernelPath,
		Nested:        c.Nested,
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
			Stdin: vm.Stdin != nil,
		},
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
	if vm.Terminal != nil {
		s.Program.TTY = true
		s.Program.Window = agentproto.WindowSize{Rows: vm.Terminal.Rows, Cols: vm.Terminal.Cols}
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
