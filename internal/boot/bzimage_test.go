package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"

	"github.com/holtvm/holt/internal/boot/boottest"
)

const release = "6.1.0-56-cloud-amd64"

func pack(t testing.TB, data []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := open(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipped(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }

func lz4Legacy(w io.Writer) (io.WriteCloser, error) {
	lw := lz4.NewWriter(w)
	return lw, lw.Apply(lz4.LegacyOption(true))
}

func parse(b []byte) (*BzImage, error) { return ParseBzImage(bytes.NewReader(b), int64(len(b))) }

func TestUnpack(t *testing.T) {
	vmlinux := boottest.Vmlinux(release, 0x1000850)
	for name, payload := range map[string][]byte{
		"gzip": pack(t, vmlinux, gzipped),
		"lz4":  boottest.AppendSize(pack(t, vmlinux, lz4Legacy), len(vmlinux)),
		"xz": boottest.AppendSize(pack(t, vmlinux, func(w io.Writer) (io.WriteCloser, error) {
			return xz.NewWriter(w)
		}), len(vmlinux)),
		"zstd": boottest.AppendSize(pack(t, vmlinux, func(w io.Writer) (io.WriteCloser, error) {
			return zstd.NewWriter(w)
		}), len(vmlinux)),
	} {
		t.Run(name, func(t *testing.T) {
			img, err := parse(boottest.BzImage(release, payload))
			if err != nil {
				t.Fatal(err)
			}
			if img.Release != release || img.Protocol != 0x020f {
				t.Errorf("release %q, protocol %#x", img.Release, img.Protocol)
			}
			var out bytes.Buffer
			if err := img.Unpack(&out); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out.Bytes(), vmlinux) {
				t.Error("the unpacked kernel differs from the packed one")
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	vmlinux := boottest.Vmlinux(release, 0)
	packed := pack(t, vmlinux, lz4Legacy)
	for name, tt := range map[string]struct {
		payload []byte
		want    error
	}{
		"unknown compression":      {[]byte("no compression at all"), ErrUnsupportedPayload},
		"more than it claims":      {boottest.AppendSize(packed, len(vmlinux)-1), ErrNotKernel},
		"less than it claims":      {boottest.AppendSize(packed, len(vmlinux)+1), ErrNotKernel},
		"claims more than allowed": {boottest.AppendSize(packed, MaxUnpacked+1), ErrNotKernel},
		"gzip with nothing after":  {[]byte{0x1f, 0x8b, 8, 0}, ErrNotKernel},
	} {
		t.Run(name, func(t *testing.T) {
			img, err := parse(boottest.BzImage(release, tt.payload))
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := img.Unpack(&out); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if out.Len() > len(vmlinux) {
				t.Errorf("%d bytes came out", out.Len())
			}
		})
	}
}

func TestParseBzImageRefuses(t *testing.T) {
	good := boottest.BzImage(release, []byte("payload"))
	edit := func(off int, b ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[off:], b)
		return c
	}
	for name, b := range map[string][]byte{
		"empty":              nil,
		"short":              good[:offPayloadLength],
		"no boot flag":       edit(offBootFlag, 0, 0),
		"no magic":           edit(offMagic, 'h'),
		"old protocol":       edit(offProtocol, 7, 2),
		"payload after end":  edit(offPayload, 0xff, 0xff, 0xff, 0xff),
		"payload too long":   edit(offPayloadLength, 0xff, 0xff, 0xff, 0xff),
		"no payload":         edit(offPayloadLength, 0, 0, 0, 0),
		"setup past the end": edit(offSetupSects, 0xff),
	} {
		if _, err := parse(b); !errors.Is(err, ErrNotKernel) {
			t.Errorf("%s: got %v, want ErrNotKernel", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"no version":            edit(offKernelVersion, 0, 0),
		"version outside setup": edit(offKernelVersion, 0xff, 0xff),
		"version with a path":   edit(0x380, []byte("6/../.. ")...),
	} {
		if img, err := parse(b); err != nil || img.Release != "" {
			t.Errorf("%s: got %+v, %v, want no release", name, img, err)
		}
	}
}

func TestParseELF(t *testing.T) {
	parse := func(b []byte) (*ELFKernel, error) { return ParseELF(bytes.NewReader(b), int64(len(b))) }
	for _, pvh := range []uint32{0, 0x1000850} {
		k, err := parse(boottest.Vmlinux(release, pvh))
		if err != nil {
			t.Fatal(err)
		}
		if k.PVHEntry != pvh {
			t.Errorf("PVH entry %#x, want %#x", k.PVHEntry, pvh)
		}
		if got, err := k.Release(); got != release || err != nil {
			t.Errorf("release %q, %v", got, err)
		}
	}
	good := boottest.Vmlinux(release, 1)
	edit := func(off int, b ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[off:], b)
		return c
	}
	const firstLoad = 64
	for name, b := range map[string][]byte{
		"empty":              nil,
		"a module":           boottest.Module("m", release),
		"another machine":    edit(18, 183),
		"32 bit":             edit(4, 1),
		"shared object":      edit(16, 3),
		"segment outside":    edit(firstLoad+32, binary.LittleEndian.AppendUint64(nil, 1<<40)...),
		"segment that wraps": edit(firstLoad+8, binary.LittleEndian.AppendUint64(nil, 1<<64-8)...),
		"nothing to load":    edit(firstLoad, 6),
	} {
		if _, err := parse(b); !errors.Is(err, ErrNotKernel) {
			t.Errorf("%s: got %v, want ErrNotKernel", name, err)
		}
	}
}

func TestELFReleaseAcrossReads(t *testing.T) {
	b := boottest.Vmlinux("5.4.3", 0)
	banner := []byte("Linux version 9.9.9 (x)")
	big := append(bytes.Replace(b, []byte("Linux version 5"), []byte("Linux release 5"), 1), make([]byte, 2<<20)...)
	for _, at := range []int{1<<20 - 1, 1<<20 - 16, 1<<20 - 70, 1 << 20, len(big) - len(banner)} {
		c := bytes.Clone(big)
		copy(c[at:], banner)
		k, err := ParseELF(bytes.NewReader(c), int64(len(c)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Release(); got != "9.9.9" || err != nil {
			t.Errorf("banner at %d: release %q, %v", at, got, err)
		}
	}
}
