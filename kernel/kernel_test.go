package kernel

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The files stay readable: every option once, sorted inside its group, and every
// group with a heading.
func TestConfigIsInOrder(t *testing.T) {
	option := regexp.MustCompile(`^(CONFIG_[A-Z0-9_a-z]+)=(y|n|[0-9]+|".*")$`)
	seen := map[string]bool{}
	for name, text := range map[string]string{"holt.config": common, "x86_64.config": x86} {
		var group []string
		for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
			m := option.FindStringSubmatch(line)
			switch {
			case line == "":
				group = nil
			case strings.HasPrefix(line, "#"):
			case m == nil:
				t.Errorf("%s:%d: %q is neither an option nor a comment", name, i+1, line)
			case seen[m[1]]:
				t.Errorf("%s:%d: %s is set twice", name, i+1, m[1])
			default:
				seen[m[1]] = true
				if group = append(group, m[1]); !slices.IsSorted(group) {
					t.Errorf("%s:%d: %s is out of order", name, i+1, m[1])
				}
			}
		}
	}
}

// What Holt cannot do without must not get lost in an edit.
func TestConfigHasWhatGuestsNeed(t *testing.T) {
	text, err := Config("amd64")
	if err != nil {
		t.Fatal(err)
	}
	for _, option := range []string{
		"ACPI", "BLK_DEV_INITRD", "DEVTMPFS", "HW_RANDOM_VIRTIO", "KVM_GUEST", "OVERLAY_FS", "PVH", "SERIAL_8250_CONSOLE",
		"VIRTIO_BLK", "VIRTIO_CONSOLE", "VIRTIO_FS", "VIRTIO_MMIO", "VIRTIO_NET", "VIRTIO_PCI", "VIRTIO_VSOCKETS", "VMGENID",
	} {
		if !strings.Contains(text, "\nCONFIG_"+option+"=y\n") {
			t.Errorf("CONFIG_%s is not set", option)
		}
	}
}

func TestConfigForOtherArchitectures(t *testing.T) {
	if text, err := Config("riscv64"); err == nil {
		t.Errorf("got %d bytes", len(text))
	}
}
