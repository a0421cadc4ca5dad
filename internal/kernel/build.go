package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// source is what a kernel is made of.
type source struct {
	image *image
	// modules is a directory like /lib/modules/6.1.0-13-amd64, or "" for a
	// kernel that has everything built in.
	modules string
	// name and about become the manifest's Name and Source. A name that is ""
	// becomes the release.
	name, about string
}

// build makes a kernel's directory in dir, which is empty.
func build(ctx context.Context, dir string, src source) (Manifest, error) {
	m := Manifest{
		Schema: manifestSchema, Name: src.name, Version: src.image.release, Source: src.about,
		Modules: []Module{}, Created: time.Now().UTC().Truncate(time.Second),
	}
	if src.modules != "" {
		tree, err := scanModules(src.modules)
		if err != nil {
			return Manifest{}, err
		}
		found, err := resolve(tree, m.Version)
		if err != nil {
			return Manifest{}, err
		}
		if m.Modules, err = storeModules(filepath.Join(dir, modulesDir), found.modules); err != nil {
			return Manifest{}, fmt.Errorf("store modules: %w", err)
		}
		m.Version, m.Groups, m.Missing = found.release, groupNames(), found.missing
	}
	if err := ctx.Err(); err != nil {
		return Manifest{}, err
	}
	if m.Name == "" {
		m.Name = m.Version
	}
	if m.Name == "" {
		return Manifest{}, fmt.Errorf("kernel %s does not tell its version: give it a name", src.image.Name())
	}
	if err := src.image.store(dir, &m); err != nil {
		return Manifest{}, fmt.Errorf("store kernel image: %w", err)
	}
	if err := m.check(); err != nil {
		return Manifest{}, err
	}
	return m, m.write(dir)
}

// storeModules writes modules into dir. One that is in several groups is one
// file.
func storeModules(dir string, modules []selected) ([]Module, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	out := make([]Module, len(modules))
	for i, s := range modules {
		sum := sha256.Sum256(s.data)
		out[i] = Module{File: s.name + ".ko", Name: s.name, Group: s.group, SHA256: hex.EncodeToString(sum[:])}
		if err := os.WriteFile(filepath.Join(dir, out[i].File), s.data, 0o644); err != nil {
			return nil, err
		}
	}
	return out, nil
}
