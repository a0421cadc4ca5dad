package holt

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
)

func TestBuilderSetsEveryField(t *testing.T) {
	h := newHost(t)
	got, err := NewBuilder().
		LogLevel(LogDebug).
		RootPath(h.path("root")).
		RootOverlay(true).
		NumVCPUs(2).
		RAMMiB(1024).
		CPUQuota(50000).
		Nested(true).
		KernelPath(h.path("vmlinux")).
		MappedDirs(h.dir+":/guest/mount:ro").
		PortMap("8080:80").
		Rlimits("RLIMIT_NOFILE=1024:2048").
		WorkdirPath("/workdir").
		ExecPath("/bin/example").
		Args("arg1", "arg2").
		Env("KEY1=VALUE1", "KEY2=VALUE2").
		ConsoleOutput(h.path("console.log")).
		AssignedIP("10.0.2.15").
		LocalOnly(true).
		Config()
	want := Config{
		VCPUCount:     2,
		MemoryMB:      1024,
		CPUQuotaUS:    new(uint64(50000)),
		Nested:        true,
		KernelPath:    h.path("vmlinux"),
		RootPath:      h.path("root"),
		RootOverlay:   true,
		MappedDirs:    []PathPair{{h.dir, "/guest/mount", true}},
		ExecPath:      "/bin/example",
		Args:          []string{"arg1", "arg2"},
		Env:           []EnvPair{{"KEY1", "VALUE1"}, {"KEY2", "VALUE2"}},
		WorkdirPath:   "/workdir",
		Rlimits:       []Rlimit{{RlimitNoFile, 1024, 2048}},
		PortMap:       []PortPair{{Host: 8080, Guest: 80}},
		AssignedIP:    netip.MustParseAddr("10.0.2.15"),
		LocalOnly:     true,
		ConsoleOutput: h.path("console.log"),
		LogLevel:      LogDebug,
	}
	if err != nil || !got.Equal(want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}

	got, err = NewBuilder().RootfsPath(h.path("rootfs.gz")).RAMMiB(64).ExecPath("true").Config()
	want = Config{VCPUCount: 1, MemoryMB: 64, RootfsPath: h.path("rootfs.gz"), ExecPath: "true"}
	if err != nil || !got.Equal(want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
}

func TestBuilderWantsWhatIsRequired(t *testing.T) {
	c, err := NewBuilder().Config()
	if got := strings.Join(fieldsOf(t, err), " "); got != "memory_mb root_path exec_path" {
		t.Errorf("complains about %s: %v", got, err)
	}
	if !strings.Contains(err.Error(), "memory_mb: must be set: call RAMMiB") {
		t.Errorf("error is %v", err)
	}
	if !c.Equal(Config{}) {
		t.Errorf("an error and %+v", c)
	}
	_, err = NewBuilder().RootPath("/").ExecPath("x").RAMMiB(0).Config()
	if err == nil || err.Error() != "memory_mb: 0: must be at least 64 (MiB)" {
		t.Errorf("RAMMiB(0): %v", err)
	}
}

func TestBuilderKeepsEveryBadArgument(t *testing.T) {
	_, err := NewBuilder().
		RootPath("./nope").
		RAMMiB(1).
		ExecPath("/bin/x").
		MappedDirs("a:b:c:d", "/:/ok", "/:relative").
		PortMap("0", "80", "70000:1").
		Rlimits("NOFILE=1").
		Env("1=2", "KEY").
		AssignedIP("localhost").
		WorkdirPath("w").
		Config()
	want := []string{
		`mapped_dirs: "a:b:c:d": `,
		`mapped_dirs: "/:relative": `,
		`port_map: "0": `,
		`port_map: "70000:1": `,
		`rlimits: "NOFILE=1": `,
		`env: "1=2": `,
		`env: "KEY": `,
		`assigned_ip: "localhost": `,
		`memory_mb: 1: `,
		`root_path: "./nope": `,
		`workdir_path: "w": `,
	}
	if err == nil {
		t.Fatal("accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d problems, want %d:\n%v", len(lines), len(want), err)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("problem %d is %s\nwant %s…", i, line, want[i])
		}
	}
	fieldsOf(t, err)
	var field *FieldError
	if !errors.As(err, &field) || field.Value != `"a:b:c:d"` {
		t.Errorf("first FieldError is %+v", field)
	}
}

func TestBuilderListsAppend(t *testing.T) {
	got, err := NewBuilder().RootPath("/").RAMMiB(64).ExecPath("x").
		Args("a").Args().Args("b", "c").
		Env("A=1").Env("A=2").
		PortMap("1").PortMap("2").
		Rlimits("RLIMIT_AS=1").Rlimits("RLIMIT_CPU=1").
		MappedDirs("/:/a").MappedDirs("/:/b").
		RootPath("/tmp/..").
		Config()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(got.Args, "") != "abc" || len(got.Env) != 2 || len(got.PortMap) != 2 || len(got.Rlimits) != 2 || len(got.MappedDirs) != 2 {
		t.Errorf("lists do not append: %+v", got)
	}
	if got.RootPath != "/" {
		t.Errorf("root_path is %q, want the last one, clean", got.RootPath)
	}
}

func TestBuilderMakesHostPathsAbsolute(t *testing.T) {
	h := newHost(t)
	t.Chdir(h.dir)
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got, err := NewBuilder().RAMMiB(64).ExecPath("./run").
		RootPath("root").KernelPath("./vmlinux").ConsoleOutput("log").MappedDirs("./:/app").
		Config()
	want := Config{
		VCPUCount: 1, MemoryMB: 64, ExecPath: "./run", RootPath: dir + "/root", KernelPath: dir + "/vmlinux",
		ConsoleOutput: dir + "/log", MappedDirs: []PathPair{{dir, "/app", false}},
	}
	if err != nil || !got.Equal(want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
}

func TestBuilderResultIsIndependent(t *testing.T) {
	b := NewBuilder().RootPath("/").RAMMiB(64).ExecPath("x").Args("a", "b", "c").CPUQuota(1000)
	first, err := b.Config()
	if err != nil {
		t.Fatal(err)
	}
	kept := first.clone()
	second, err := b.Args("d").CPUQuota(2000).Config()
	if err != nil {
		t.Fatal(err)
	}
	second.Args[0] = "changed"
	*second.CPUQuotaUS = 3000
	if !first.Equal(kept) {
		t.Errorf("the first Config became %+v", first)
	}
	third, err := b.Config()
	if err != nil || third.Args[0] != "a" || *third.CPUQuotaUS != 2000 {
		t.Errorf("the Builder changed through its result: %+v, %v", third, err)
	}
}
