package kernel

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/holtvm/holt/internal/decompress"
)

const (
	maxModule  = 64 << 20 // bytes
	maxModinfo = 1 << 20  // bytes
)

// modinfo is what a module says about itself in its section .modinfo.
type modinfo struct {
	name    string
	depends []string
	// release is the kernel that it was built for.
	release string
}

// readModule reads a module file, unpacks it if need be, and returns it with
// its information.
func readModule(path string) ([]byte, modinfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, modinfo{}, fmt.Errorf("read module: %w", err)
	}
	defer f.Close()
	var r io.Reader = f
	if !strings.HasSuffix(path, ".ko") {
		_, rc, err := decompress.NewReader(f)
		if err != nil {
			return nil, modinfo{}, fmt.Errorf("read module %s: %w", path, err)
		}
		defer rc.Close()
		r = rc
	}
	data, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err != nil {
		return nil, modinfo{}, fmt.Errorf("read module %s: %w", path, err)
	}
	if len(data) > maxModule {
		return nil, modinfo{}, fmt.Errorf("read module %s: it is larger than %d bytes", path, maxModule)
	}
	info, err := parseModinfo(data)
	if err != nil {
		return nil, modinfo{}, fmt.Errorf("read module %s: %w", path, err)
	}
	return data, info, nil
}

func parseModinfo(module []byte) (modinfo, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return modinfo{}, err
	}
	section := f.Section(".modinfo")
	if section == nil || section.Size > maxModinfo {
		return modinfo{}, fmt.Errorf("not a kernel module: no usable section .modinfo")
	}
	data, err := section.Data()
	if err != nil {
		return modinfo{}, fmt.Errorf("read section .modinfo: %w", err)
	}
	var info modinfo
	for field := range strings.SplitSeq(string(data), "\x00") {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "name":
			info.name = value
		case "depends":
			if value != "" {
				info.depends = strings.Split(value, ",")
			}
		case "vermagic":
			info.release, _, _ = strings.Cut(value, " ")
		}
	}
	return info, nil
}
