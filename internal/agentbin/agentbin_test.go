package agentbin

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestAgentThatIsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent")
	t.Setenv("HOLT_AGENT", path)
	if _, err := Find(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
	ids := map[string]bool{}
	for _, content := range []string{"first", "other"} { // of the same size
		if err := os.WriteFile(path+".new", []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		agent, err := Find()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := agent.Read(); err != nil || string(b) != content {
			t.Errorf("read %q, %v, want %q", b, err, content)
		}
		again, err := Find()
		if err != nil || again.ID() != agent.ID() {
			t.Errorf("found twice: %q, then %q, %v", agent.ID(), again.ID(), err)
		}
		ids[agent.ID()] = true
	}
	if len(ids) != 2 {
		t.Error("another content has the same id")
	}
}

func TestAgentInThisProgram(t *testing.T) {
	t.Setenv("HOLT_AGENT", "")
	agent, err := Find()
	if errors.Is(err, ErrMissing) {
		if _, err := fs.Stat(files, embedded); err == nil {
			t.Error("the agent that is there was not found")
		}
		return // as in a program that imports Holt
	}
	if err != nil {
		t.Fatal(err)
	}
	if b, err := agent.Read(); err != nil || len(b) == 0 || agent.ID() == "" {
		t.Errorf("%d bytes, id %q, %v", len(b), agent.ID(), err)
	}
}
