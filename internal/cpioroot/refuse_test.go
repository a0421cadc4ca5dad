package cpioroot

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/boot"
)

// refusal prepares a root that must be refused, checks that the error names it
// and that nothing is left of it, and returns the error.
func refusal(t *testing.T, root []byte, o Options) error {
	t.Helper()
	path := place(t, "root.gz", root)
	archive, err := Prepare(t.Context(), path, testInitramfs(t), o)
	if err == nil {
		t.Fatalf("accepted as\n%s", list(read(t, archive)))
	}
	if archive != "" || !strings.Contains(err.Error(), path) {
		t.Errorf("archive %q, error %v", archive, err)
	}
	if left, err := os.ReadDir(filepath.Join(o.CacheDir, "roots")); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return err
}

func TestPrepareRefusesArchives(t *testing.T) {
	tar := make([]byte, 2048)
	copy(tar[257:], "ustar")
	ext4 := make([]byte, 4096)
	ext4[1080], ext4[1081] = 0x53, 0xef
	a := entry{name: "a", mode: file, content: "content"}
	crc := bytes.Replace(whole(a), []byte("070701"), []byte("070702"), 1)
	for name, tt := range map[string]struct {
		cpio []byte
		want []string
	}{
		"tar":                    {tar, []string{"tar archive", "cpio -o -H newc"}},
		"ext4":                   {ext4, []string{"ext4 image", "disk"}},
		"old binary":             {[]byte("\xc7\x71" + strings.Repeat("x", 100)), []string{"old binary cpio", "-H newc"}},
		"old ASCII":              {[]byte("070707" + strings.Repeat("0", 100)), []string{"old cpio", "-H newc"}},
		"gzip in gzip":           {packed(t, trailer), []string{"compressed with gzip once more"}},
		"empty":                  {nil, []string{"empty", "cpio -o -H newc"}},
		"short":                  {[]byte("hi"), []string{"unknown", "68 69"}},
		"cut in a header":        {whole(a)[:50], []string{"TRAILER!!!"}},
		"cut in a name":          {whole(a)[:111], []string{"TRAILER!!!"}},
		"cut in a file":          {whole(a)[:115], []string{"TRAILER!!!"}},
		"no trailer":             {newc(a), []string{"TRAILER!!!"}},
		"something behind":       {append(whole(a), "\x00\x00junk"...), []string{"6a 75 6e 6b", "no cpio archive"}},
		"zeros without end":      {append(trailer, make([]byte, maxPadding+1)...), []string{"16 MiB of zeros"}},
		"bad number":             {bytes.Replace(whole(a), []byte("0000"), []byte("00x0"), 1), []string{"not a number"}},
		"checksum":               {crc, []string{"a:", "checksum"}},
		"climbs":                 {whole(entry{name: "a/../../init", mode: file}), []string{"a/../../init"}},
		"only dotdot":            {whole(entry{name: "..", mode: dir}), []string{`".."`}},
		"empty name":             {whole(entry{name: "", mode: file}), []string{"name"}},
		"NUL in a name":          {whole(entry{name: "a\x00b", mode: file}), []string{"name"}},
		"long path":              {whole(entry{name: strings.Repeat("a/", maxPath/2+1), mode: dir}, entry{name: strings.Repeat("a/", maxPath/2+1) + "b", mode: dir}), []string{"4089 bytes", "4087"}},
		"longer path":            {whole(entry{name: strings.Repeat("a/", 2050), mode: dir}), []string{"4101 bytes"}},
		"long name":              {whole(entry{name: strings.Repeat("a", 256), mode: file}), []string{"256 bytes", "255"}},
		"no type":                {whole(entry{name: "a"}), []string{"a:", "type"}},
		"directory with content": {whole(entry{name: "a", mode: dir, content: "x"}), []string{"a:", "content"}},
		"long link":              {whole(entry{name: "a", mode: link, content: strings.Repeat("x", 4096)}), []string{"a:", "4096 bytes"}},
		"below a link":           {whole(entry{name: "a", mode: link, content: "/"}, entry{name: "a/init", mode: file}), []string{`"a/init" is below "a"`, "symbolic link"}},
		"far below a link":       {whole(entry{name: "a", mode: link, content: "/"}, entry{name: "a/b/c", mode: dir}), []string{`"a/b/c" is below "a"`}},
		"below a link of another archive": {append(whole(entry{name: "a", mode: link, content: "/"}), whole(entry{name: "a/init", mode: file})...),
			[]string{`"a/init" is below "a"`}},
		"below a file":          {whole(a, entry{name: "a/b", mode: file}), []string{`"a/b" is below "a"`, "a file"}},
		"below a device":        {whole(entry{name: "a", mode: boot.ModeChar}, entry{name: "a/b", mode: file}), []string{"a device"}},
		"the root as a link":    {whole(entry{name: ".", mode: link, content: "/"}), []string{`"." is a directory`, "symbolic link"}},
		"a directory as a link": {whole(entry{name: "a/b", mode: file}, entry{name: "a", mode: link, content: "/"}), []string{`"a" is a directory`, "symbolic link"}},
		// The kernel would make b another name of the link, and write through it.
		"a hard link to a symbolic link": {
			whole(entry{name: "a", mode: file, inode: 1, links: 2}, entry{name: "a", mode: link, content: "/init"}, entry{name: "b", mode: file, inode: 1, links: 2, content: "theirs"}),
			[]string{`"a"`, "hard links", "twice"},
		},
		"a hard link to itself": {whole(entry{name: "a", mode: file, inode: 1, links: 2}, entry{name: "a", mode: file, inode: 1, links: 2}), []string{`"a"`, "twice"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := refusal(t, packed(t, tt.cpio), options(t))
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q: %v", want, err)
				}
			}
		})
	}
}

func TestPrepareRefusesFiles(t *testing.T) {
	good := packed(t, whole(entry{name: "a", mode: file, content: strings.Repeat("content ", 1000)}))
	wrongSum := bytes.Clone(good)
	wrongSum[len(wrongSum)-6] ^= 1
	for name, tt := range map[string]struct {
		root []byte
		want string
	}{
		"empty":              {nil, "it is empty"},
		"text":               {[]byte("hello"), "starts with 68 65 6c"},
		"zstd":               {[]byte("\x28\xb5\x2f\xfd----"), "zstd -dc"},
		"xz":                 {[]byte("\xfd7zXZ\x00--"), "xz -dc"},
		"not compressed":     {trailer, "gzip FILE"},
		"gzip magic":         {good[:2], "gzip header"},
		"cut":                {good[:len(good)/2], "ends in the middle of its gzip data"},
		"cut in the sum":     {good[:len(good)-3], "ends in the middle of its gzip data"},
		"wrong sum":          {wrongSum, "gzip data is damaged"},
		"damaged":            {slices.Concat(good[:10], []byte{0xff, 0xff}, good[12:]), "gzip data is damaged"},
		"something behind":   {append(bytes.Clone(good), "junk"...), "something else behind"},
		"cut second member":  {append(bytes.Clone(good), good[:30]...), "ends in the middle of its gzip data"},
		"second gzip header": {append(bytes.Clone(good), good[:5]...), "ends in the middle of a gzip header"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := refusal(t, tt.root, options(t)); !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error lacks %q: %v", tt.want, err)
			}
		})
	}
}

func TestPrepareRefusesWhatIsNoFile(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{fifo: "regular file", t.TempDir(): "regular file", "/nonexistent/root": "no such file"} {
		for name, err := range map[string]error{"Check": Check(path), "Prepare": second(Prepare(t.Context(), path, testInitramfs(t), options(t)))} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %s: %v, want %q", name, path, err, want)
			}
		}
	}
}

func second(_ string, err error) error { return err }

func TestCheck(t *testing.T) {
	good := packed(t, whole(entry{name: "a", mode: file}))
	if err := Check(place(t, "root", good)); err != nil {
		t.Error(err)
	}
	for want, root := range map[string][]byte{
		"must be a gzip-compressed cpio archive: it is compressed with zstd": []byte("\x28\xb5\x2f\xfd"),
		"must be a gzip-compressed cpio archive: what gzip holds is unknown": packed(t, []byte("text")),
		"must be a gzip-compressed cpio archive: it ends in the middle":      good[:15],
	} {
		if err := Check(place(t, "root", root)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// bomb compresses an archive with a file of that many zeros.
func bomb(t *testing.T, count int, size int64) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "bomb.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// One member of zeros that is given again and again: to compress 10 GiB takes
	// longer than the test may.
	const step = 16 * mib
	member := packed(t, make([]byte, step))
	write := func(b []byte) {
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	for range count {
		write(packed(t, newc(entry{name: "zeros", mode: file, size: size})))
		for range size / step {
			write(member)
		}
	}
	write(packed(t, trailer))
	return f.Name()
}

// TestPrepareRefusesBombs has 10 GiB in files of 32 MiB, of which one would fit,
// and in files of 2.5 GiB.
func TestPrepareRefusesBombs(t *testing.T) {
	for _, tt := range []struct {
		count  int
		size   int64
		memory uint64
	}{{320, 32 * mib, 256 * mib}, {4, 2560 * mib, 512 * mib}} {
		path := bomb(t, tt.count, tt.size)
		if info, err := os.Stat(path); err != nil || info.Size() > 11*mib {
			t.Fatalf("the bomb has %d bytes, %v", info.Size(), err)
		}
		o := options(t)
		o.MemoryBytes = tt.memory
		start := time.Now()
		_, err := Prepare(t.Context(), path, testInitramfs(t), o)
		if err == nil || !strings.Contains(err.Error(), "MiB of memory") && !strings.Contains(err.Error(), "no kernel takes") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took > 10*time.Second { // 0.2 s on an idle machine
			t.Errorf("it took %v", took)
		}
		if left, _ := os.ReadDir(filepath.Join(o.CacheDir, "roots")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// TestPrepareBoundsDirectories: an entry of 4 KiB may need 2,000 directories.
func TestPrepareBoundsDirectories(t *testing.T) {
	var entries []entry
	for i := range 200 {
		entries = append(entries, entry{name: strings.Repeat("a/", 100+i) + strings.Repeat("b/", 1800-i) + "c", mode: file})
	}
	o := options(t)
	o.MemoryBytes = 128 * mib
	err := refusal(t, packed(t, whole(entries...)), o)
	if !strings.Contains(err.Error(), "at least") {
		t.Error(err)
	}
}

func TestPrepareStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	go func() {
		zw := gzip.NewWriter(w)
		_, err := zw.Write(newc(entry{name: "a", mode: file, size: 100 * mib}))
		for err == nil {
			_, err = zw.Write(make([]byte, mib))
			cancel()
		}
	}()
	defer r.Close()
	_, err := convert(ctx, r, testInitramfs(t), io.Discard, options(t).MemoryBytes)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
