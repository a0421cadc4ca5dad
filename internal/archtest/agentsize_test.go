package archtest

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The agent is in the initramfs of every boot, so each of its bytes is unpacked
// before the program starts. These packages are the ones that cost most.
func TestAgentStaysSmall(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "./cmd/holt-agent")
	cmd.Dir = load(t).root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "runtime") {
		t.Fatalf("go list printed no dependencies:\n%s", out)
	}
	for _, heavy := range []string{"net", "net/http", "archive/tar", "crypto/tls", "text/template", "github.com/spf13/cobra"} {
		if slices.Contains(deps, heavy) {
			t.Errorf("the guest agent is linked with %s", heavy)
		}
	}
}
