package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSame(t *testing.T) {
	for name, change := range map[string]func(top string) error{
		"":            func(string) error { return nil },
		"other bytes": func(top string) error { return os.WriteFile(filepath.Join(top, "d", "a"), []byte("AA"), 0o644) },
		"missing":     func(top string) error { return os.Remove(filepath.Join(top, "b")) },
		"more":        func(top string) error { return os.WriteFile(filepath.Join(top, "c"), nil, 0o644) },
		"gone":        os.RemoveAll,
	} {
		t.Run(name, func(t *testing.T) {
			var tops [2]string
			for i := range tops {
				tops[i] = filepath.Join(t.TempDir(), "top")
				if err := os.MkdirAll(filepath.Join(tops[i], "d"), 0o755); err != nil {
					t.Fatal(err)
				}
				for path, text := range map[string]string{"d/a": "aa", "b": ""} {
					if err := os.WriteFile(filepath.Join(tops[i], path), []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := change(tops[1]); err != nil {
				t.Fatal(err)
			}
			if err := same(tops[0], tops[1]); (err == nil) != (name == "") {
				t.Errorf("the error is %v", err)
			}
			// A file is compared as a tree of one.
			one, other := filepath.Join(tops[0], "d", "a"), filepath.Join(tops[1], "d", "a")
			if err := same(one, other); (err == nil) != (name != "other bytes" && name != "gone") {
				t.Errorf("of one file, the error is %v", err)
			}
		})
	}
}
