package doccheck

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/state"
)

// The table of docs/running.md, with operations as rows and states as columns, is the
// one by which VMs live.
func TestStateTable(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/running.md"))
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case rows == nil && cells[0] != "operation":
		case rows != nil && !strings.HasPrefix(line, "|"):
			checkStates(t, rows)
			return
		default:
			rows = append(rows, cells)
		}
	}
	t.Error("docs/running.md has no table of operations, with text below it")
}

func checkStates(t *testing.T, rows [][]string) {
	t.Helper()
	head, body := rows[0], rows[2:] // below the line of dashes
	want := []string{"operation", "commands", "created", "starting", "running", "paused", "stopping", "stopped"}
	if !slices.Equal(head, want) {
		t.Fatalf("the columns are %q, want %q", head, want)
	}
	if len(body) != len(state.Operations()) {
		t.Errorf("%d rows for %d operations", len(body), len(state.Operations()))
	}
	for i, op := range state.Operations() {
		if i >= len(body) || len(body[i]) != len(head) || body[i][0] != string(op) {
			t.Fatalf("row %d is not one for %s", i+1, op)
		}
		for j, s := range head[2:] {
			if legal := body[i][2+j] == "yes"; legal != state.State(s).Allows(op) {
				t.Errorf("%s when %s: the page says %v", op, s, legal)
			}
		}
	}
}
