package holt

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestConfigGolden(t *testing.T) {
	const file = "testdata/config.json"
	c, err := LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	want := fullConfig()
	*want.CPUQuotaUS = 50000
	want.KernelPath = "/srv/holt/vmlinux"
	want.RootfsPath = ""
	want.RootPath = "/srv/holt/root"
	want.RootDisk = Disk{}
	want.Disks = []Disk{{"/srv/holt/data.img", false}, {"/srv/holt/base.img", true}}
	want.NetworkRules = []NetworkRule{mustRule("allow *.example.com:443/tcp"), mustRule("allow [fd00::1]:8000-8100"), mustRule("deny any")}
	want.DNSServers = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[2001:db8::1]:5353")}
	want.PacketCapture = "/var/log/microvm.pcap"
	want.MappedDirs = []PathPair{{"/home", "/guest/mount", false}, {"/data", "/mnt/data", true}}
	want.ExecPath = "/bin/example"
	want.Args = []string{"arg1", "", "two words"}
	want.Env = []EnvPair{{"KEY1", "VALUE1"}, {"QUOTED", `"as is"`}, {"EMPTY", ""}}
	want.WorkdirPath = "/workdir"
	want.Rlimits = []Rlimit{{RlimitNoFile, 1024, 2048}, {RlimitCore, 0, RlimInfinity}}
	want.PortMap = nil
	for _, text := range []string{"8080:80", "127.0.0.1:5353:53/udp", "[::1]:3000:3000"} {
		pair, err := ParsePortPair(text)
		if err != nil {
			t.Fatal(err)
		}
		want.PortMap = append(want.PortMap, pair)
	}
	want.ConsoleOutput = "/var/log/microvm.log"
	want.LogLevel = LogDebug
	if !c.Equal(want) {
		t.Errorf("read  %+v\nwant %+v", c, want)
	}

	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	written, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(written) + "\n"; got != string(golden) {
		t.Errorf("written back:\n%s", got)
	}
}

func TestConfigJSONOmitsWhatIsUnset(t *testing.T) {
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{}, `{"vcpu_count":0,"memory_mb":0}`},
		{DefaultConfig(), `{"vcpu_count":1,"memory_mb":512}`},
		{Config{Args: []string{}, PortMap: []PortPair{}}, `{"vcpu_count":0,"memory_mb":0}`},
	} {
		got, err := json.Marshal(test.config)
		if err != nil || string(got) != test.want {
			t.Errorf("%s, %v; want %s", got, err, test.want)
		}
		back, err := ParseConfig(got)
		if err != nil || !back.Equal(test.config) {
			t.Errorf("%s reads back as %+v, %v", got, back, err)
		}
	}
}

func TestParseConfigDefaults(t *testing.T) {
	for _, in := range []string{
		`{}`,
		` { } `,
		`{"vcpu_count":null,"memory_mb":null,"cpu_quota_us":null,"args":null,"log_level":null,"assigned_ip":null,"root_path":null}`,
		`{"args":[],"mapped_dirs":[],"log_level":"off","local_only":false}`,
	} {
		got, err := ParseConfig([]byte(in))
		if err != nil || !got.Equal(DefaultConfig()) {
			t.Errorf("%s: %+v, %v; want the defaults", in, got, err)
		}
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for in, want := range map[string]string{
		``:                               `line 1: unexpected end of JSON input`,
		"{\n\"args\": [\n,":              `line 3: invalid character ','`,
		`null`:                           `must be a JSON object`,
		`[]`:                             `must be a JSON object`,
		`{} {}`:                          `line 1: invalid character '{' after top-level value`,
		`{"memory":1}`:                   `unknown key "memory"`,
		`{"MEMORY_MB":1}`:                `unknown key "MEMORY_MB"`,
		`{"memory_mb":64,"memory_mb":1}`: `memory_mb: must be given only once`,
		`{"memory_mb":"64"}`:             `memory_mb: "64": must be a whole number of MiB, below 2^32`,
		`{"memory_mb":4294967296}`:       `memory_mb: 4294967296: must be a whole number of MiB`,
		`{"memory_mb":64.5}`:             `memory_mb: 64.5: must be a whole number`,
		`{"memory_mb":-1}`:               `memory_mb: -1: must be a whole number`,
		`{"vcpu_count":256}`:             `vcpu_count: 256: must be a whole number from 0 to 255`,
		`{"cpu_quota_us":true}`:          `cpu_quota_us: true: must be a whole number of microseconds`,
		`{"root_path":1}`:                `root_path: 1: must be a string`,
		`{"local_only":"yes"}`:           `local_only: "yes": must be true or false`,
		`{"args":"one"}`:                 `args: "one": must be a list of strings`,
		`{"args":[1]}`:                   `args: [1]: must be a list of strings`,
		`{"args":["a",null]}`:            `args: ["a",null]: must be a list of strings, without null`,
		`{"rlimits":[null]}`:             `rlimits: [null]: must be a list of strings, without null`,
		`{"mapped_dirs":["a:b"]}`:        `mapped_dirs: "a:b": guest path "b" must be absolute`,
		`{"port_map":[8080]}`:            `port_map: [8080]: must be a list of strings`,
		`{"port_map":["70000"]}`:         `port_map: "70000": host port "70000" must be a number from 1 to 65535`,
		`{"env":["A"]}`:                  `env: "A": must be KEY=VALUE`,
		`{"rlimits":["NOFILE=1"]}`:       `rlimits: "NOFILE=1": resource "NOFILE" must be one of`,
		`{"log_level":"loud"}`:           `log_level: "loud": must be one of off, error`,
		`{"log_level":3}`:                `log_level: 3: must be a string`,
		`{"assigned_ip":"here"}`:         `assigned_ip: "here": must be an IPv4 address`,
		`{"assigned_ip":""}`:             `assigned_ip: "": must be an IPv4 address`,
		"{\"root_path\":\"\xff\"}":       `must be valid UTF-8`,
	} {
		c, err := ParseConfig([]byte(in))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
		if !c.Equal(Config{}) {
			t.Errorf("%s: an error and %+v", in, c)
		}
	}
}

func TestParseConfigReportsEveryProblem(t *testing.T) {
	_, err := ParseConfig([]byte(`{"a":1, "memory_mb":"x", "port_map":["0","1","70000"], "b":2, "env":["="]}`))
	var field *FieldError
	if !errors.As(err, &field) || field.Field != "memory_mb" {
		t.Errorf("first FieldError: %+v", field)
	}
	for _, want := range []string{`key "a"`, "memory_mb:", `port_map: "0"`, `port_map: "70000"`, `key "b"`, `env: "="`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
}

// json.Unmarshal never passes such input on; a direct caller may.
func TestUnmarshalJSONAlone(t *testing.T) {
	for _, in := range []string{``, `{`, `{"args"`, `{"args":`, `{"args":[}`, `{} {}`, `{}x`, `{"args":[],}`, `{1:2}`, `"x"`, `nul`} {
		c := fullConfig()
		if err := c.UnmarshalJSON([]byte(in)); err == nil {
			t.Errorf("%q was accepted", in)
		}
		if !c.Equal(fullConfig()) {
			t.Errorf("%q: the Config changed in spite of the error", in)
		}
	}
	c := fullConfig()
	if err := c.UnmarshalJSON([]byte(`{"memory_mb":64}`)); err != nil || !c.Equal(Config{VCPUCount: 1, MemoryMB: 64}) {
		t.Errorf("old content shines through: %+v, %v", c, err)
	}
}

func TestBadJSONIsShortened(t *testing.T) {
	_, err := ParseConfig([]byte(`{"memory_mb":"` + strings.Repeat("é", 1000) + `"}`))
	var field *FieldError
	if !errors.As(err, &field) || len(field.Value) > 70 || !strings.HasSuffix(field.Value, "é…") {
		t.Errorf("error is %v", err)
	}
}

func TestMarshalJSONRefusesWhatItWouldGarble(t *testing.T) {
	for field, change := range map[string]func(*Config){
		"kernel_path":    func(c *Config) { c.KernelPath = "\xff" },
		"rootfs_path":    func(c *Config) { c.RootfsPath = "\xff" },
		"root_path":      func(c *Config) { c.RootPath = "\xff" },
		"mapped_dirs":    func(c *Config) { c.MappedDirs = []PathPair{{"/\xff", "/a", false}} },
		"exec_path":      func(c *Config) { c.ExecPath = "\xff" },
		"args":           func(c *Config) { c.Args = []string{"", "\xff"} },
		"env":            func(c *Config) { c.Env = []EnvPair{{"A", "\xff"}} },
		"workdir_path":   func(c *Config) { c.WorkdirPath = "\xff" },
		"console_output": func(c *Config) { c.ConsoleOutput = "\xff" },
	} {
		c := DefaultConfig()
		change(&c)
		text, err := json.Marshal(c)
		var bad *FieldError
		if !errors.As(err, &bad) || bad.Field != field || !strings.Contains(bad.Problem, "UTF-8") {
			t.Errorf("%s: %s, %v", field, text, err)
		}
	}
	for name, c := range map[string]Config{
		"port": {PortMap: []PortPair{{}}}, "rlimit": {Rlimits: []Rlimit{{Resource: 99}}}, "level": {LogLevel: 9},
	} {
		if text, err := json.Marshal(c); err == nil {
			t.Errorf("invalid %s was written as %s", name, text)
		}
	}
}

// Reading and writing have their own lists of keys: the decoders and the tags.
func TestEveryFieldHasOneKey(t *testing.T) {
	var tags []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		tags = append(tags, name)
	}
	var keys []string
	for key := range new(Config).decoders() {
		keys = append(keys, key)
	}
	slices.Sort(tags)
	slices.Sort(keys)
	if !slices.Equal(tags, keys) {
		t.Errorf("tags %v\nkeys %v", tags, keys)
	}

	full := fullConfig()
	text, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseConfig(text); err != nil || !back.Equal(full) {
		t.Errorf("%s reads back as %+v, %v", text, back, err)
	}
}

func TestLoadConfigErrorsNameTheFile(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.json")
	if _, err := LoadConfig(missing); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("missing file: %v", err)
	}
	broken := filepath.Join(t.TempDir(), "broken.json")
	if err := os.WriteFile(broken, bytes.Repeat([]byte("\n"), 9), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadConfig(broken); err == nil || !strings.Contains(err.Error(), broken) {
		t.Errorf("broken file: %v", err)
	}
}
