package kvmapi

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fact is a number of the kernel's headers and what this package has for it.
type fact struct {
	c    string // a C expression
	here uintptr
}

// youngerThanHeaders are numbers that the headers of Linux 6.1, which Debian 12
// builds with, do not have yet.
var youngerThanHeaders = map[string]bool{
	"KVM_EXIT_MEMORY_FAULT": true, "KVM_PRE_FAULT_MEMORY": true, preFaultSize: true,
}

// TestHeaders asks the C compiler what the kernel's own headers say.
func TestHeaders(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skipf("the kernel's headers are read by a C compiler: %v", err)
	}
	facts := slices.Concat(numbers(), layouts())
	var program strings.Builder
	program.WriteString("#include <stddef.h>\n#include <stdio.h>\n#include <linux/kvm.h>\nint main(void) {\n")
	for _, f := range facts {
		show := fmt.Sprintf("printf(\"%%llu\\n\", (unsigned long long)(%s));\n", f.c)
		if youngerThanHeaders[f.c] {
			macro := strings.Replace(f.c, preFaultSize, "KVM_PRE_FAULT_MEMORY", 1)
			show = fmt.Sprintf("#ifdef %s\n%s#else\nprintf(\"%d\\n\");\n#endif\n", macro, show, f.here)
		}
		program.WriteString(show)
	}
	program.WriteString("return 0; }\n")
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "abi.c"), filepath.Join(dir, "abi")
	if err := os.WriteFile(source, []byte(program.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), gcc, "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), binary).Output()
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	lines := strings.Fields(string(out))
	if len(lines) != len(facts) {
		t.Fatalf("%d answers to %d questions", len(lines), len(facts))
	}
	for i, f := range facts {
		if here := fmt.Sprint(f.here); lines[i] != here {
			t.Errorf("%s is %s in the kernel's headers, %s here", f.c, lines[i], here)
		}
	}
}
