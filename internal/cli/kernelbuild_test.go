package cli

import (
	"strings"
	"testing"
)

func TestKernelBuildHelpTeaches(t *testing.T) {
	out, err := execute("kernel", "build", "--help")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"linux-source-6.12", "minutes", "--config", "--jobs", "--keep", "--source", "/proc/config.gz"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the help:\n%s", want, out)
		}
	}
}

func TestKernelBuildSaysWhatToInstall(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	t.Setenv("PATH", t.TempDir())
	_, err := execute("kernel", "build")
	if err == nil || !strings.Contains(err.Error(), "apt-get install") || !strings.Contains(err.Error(), "flex") {
		t.Errorf("got %v", err)
	}
}
