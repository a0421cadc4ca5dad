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
		RootOverlay:   c.RootOverlay,
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
	for _, e := range c.Env {
		s.Program.Env = append(s.Program.Env, e.String())
	}
	for _, l := range c.Rlimits {
		s.Program.Rlimits = append(s.Program.Rlimits, agentproto.Rlimit{Resource: int(l.Resource), Soft: l.Soft, Hard: l.Hard})
	}
	if vm.Terminal != nil {
		s.Program.TTY = true
		s.Program.Window = agentproto.WindowSize{Rows: vm.Terminal.Rows, Cols: vm.Terminal.Cols}
	}
	return s, s.Program.Validate()
}
