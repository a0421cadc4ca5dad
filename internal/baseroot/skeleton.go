package baseroot

import (
	"io/fs"
	"os"
	"path/filepath"
)

// dirs are the directories of a base root, parents first.
var dirs = []struct {
	name string
	mode fs.FileMode
}{
	{"bin", 0o755}, {"sbin", 0o755}, {"usr", 0o755}, {"usr/bin", 0o755}, {"usr/sbin", 0o755},
	{"etc", 0o755}, {"root", 0o700}, {"home", 0o755}, {"tmp", 0o777 | fs.ModeSticky},
	{"proc", 0o555}, {"sys", 0o555}, {"dev", 0o755}, {"run", 0o755},
	{"var", 0o755}, {"var/log", 0o755}, {"var/tmp", 0o777 | fs.ModeSticky},
}

// files are the configuration files of a base root.
var files = map[string]string{
	"etc/passwd":   "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
	"etc/group":    "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
	"etc/hostname": "holt\n",
	"etc/hosts":    "127.0.0.1 localhost\n::1 localhost\n",
	"etc/profile":  "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport PS1='\\w \\$ '\n",
}

func makeSkeleton(root string) error {
	for _, d := range dirs {
		path := filepath.Join(root, d.name)
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(path, d.mode); err != nil { // whatever the umask
			return err
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return os.Chmod(root, 0o755)
}
