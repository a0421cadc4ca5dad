package archtest

import (
	"encoding/json"
	"os/exec"
	"testing"
)

// modules are the third-party modules of go.mod, each with what it is for. A
// module that is only another one's need says whose.
var modules = map[string]string{
	"github.com/creack/pty":                "terminals for tests of the command line",
	"github.com/google/btree":              "needed by gvisor",
	"github.com/hanwen/go-fuse/v2":         "the FUSE protocol behind virtio-fs",
	"github.com/inconshreveable/mousetrap": "needed by cobra",
	"github.com/klauspost/compress":        "zstd and gzip: kernels, modules, packages",
	"github.com/miekg/dns":                 "DNS messages",
	"github.com/pierrec/lz4/v4":            "lz4 payloads of kernels",
	"github.com/spf13/cobra":               "the command line",
	"github.com/spf13/pflag":               "needed by cobra",
	"github.com/ulikunitz/xz":              "xz: kernels, modules, packages",
	"golang.org/x/exp":                     "needed by gvisor",
	"golang.org/x/net":                     "needed by miekg/dns",
	"golang.org/x/sys":                     "system calls and the KVM ABI",
	"golang.org/x/time":                    "needed by gvisor",
	"gvisor.dev/gvisor":                    "the TCP/IP stack behind a guest's network",
	"golang.org/x/term":                    "raw mode and size of the caller's terminal",
}

func TestModules(t *testing.T) {
	cmd := exec.Command("go", "mod", "edit", "-json")
	cmd.Dir = load(t).root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go mod edit: %v", err)
	}
	var file struct {
		Require []struct{ Path string }
		Replace []struct{ Old struct{ Path string } }
		Tool    []struct{ Path string }
	}
	if err := json.Unmarshal(out, &file); err != nil {
		t.Fatal(err)
	}
	required := map[string]bool{}
	for _, r := range file.Require {
		required[r.Path] = true
		if modules[r.Path] == "" {
			t.Errorf("go.mod requires %s: say here what it is for", r.Path)
		}
	}
	for path := range modules {
		if !required[path] {
			t.Errorf("go.mod no longer requires %s: take it off the list", path)
		}
	}
	for _, r := range file.Replace {
		t.Errorf("go.mod replaces %s: programs that import Holt would not get the replacement", r.Old.Path)
	}
	for _, tool := range file.Tool {
		t.Errorf("go.mod has the tool %s: tools are pinned in tools/go.mod", tool.Path)
	}
}
