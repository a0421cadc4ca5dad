package holt

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/holtvm/holt/internal/paths"
)

// TestTemplateName: VMs have a template in common that differ in what a clone may have
// otherwise, and no others.
func TestTemplateName(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	binary, agent := file("holt"), file("agent")
	cfg := DefaultConfig()
	cfg.KernelPath, cfg.RootfsPath, cfg.ExecPath = file("kernel"), file("root"), "true"
	name := func(change func(c *Config), binary string) string {
		c := cfg.clone()
		change(&c)
		name, err := (&VM{config: c, options: options{binary: binary}}).templateName(paths.Dirs{})
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	first := name(func(*Config) {}, binary)
	for what, change := range map[string]func(c *Config){
		"program": func(c *Config) { c.ExecPath, c.Args, c.WorkdirPath = "false", []string{"x"}, "/tmp" },
		"env":     func(c *Config) { c.Env = []EnvPair{{Key: "A", Value: "b"}} },
		"ports":   func(c *Config) { c.PortMap = []PortPair{{Host: 8080, Guest: 80}} },
		"quota":   func(c *Config) { c.CPUQuotaUS = new(uint64) },
		"outputs": func(c *Config) { c.ConsoleOutput, c.PacketCapture, c.LogLevel = "/c", "/p", LogDebug },
	} {
		if name(change, binary) != first {
			t.Errorf("with another %s it has another template", what)
		}
	}
	for what, change := range map[string]func(c *Config){
		"machine":   func(c *Config) { c.VCPUCount++ },
		"memory":    func(c *Config) { c.MemoryMB++ },
		"processor": func(c *Config) { c.CPUTemplate = "x86-64-v2" },
		"network":   func(c *Config) { c.Network = NetworkNone },
		"resolver":  func(c *Config) { c.DNSServers = []netip.AddrPort{netip.MustParseAddrPort("1.1.1.1:53")} },
		"directory": func(c *Config) { c.MappedDirs = []PathPair{{Host: dir, Guest: "/a"}} },
		"kernel":    func(c *Config) { c.KernelPath = agent },
		"root":      func(c *Config) { c.RootfsPath = agent },
	} {
		if name(change, binary) == first {
			t.Errorf("with another %s it has the same template", what)
		}
	}
	if name(func(*Config) {}, agent) == first {
		t.Error("another holt has the same template")
	}
	t.Setenv("HOLT_AGENT", agent)
	if name(func(*Config) {}, binary) == first {
		t.Error("another agent has the same template")
	}
}

// TestWarmStartOfAVMThatRuns: it is refused before a template is made or opened.
func TestWarmStartOfAVMThatRuns(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	vm := &VM{options: options{warm: true, backend: "qemu"}, started: true}
	if err := vm.Start(t.Context()); !errors.Is(err, ErrStarted) {
		t.Errorf("Start: %v", err)
	}
}
