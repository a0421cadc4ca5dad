package cpioroot

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMeterReportsOnceASecond(t *testing.T) {
	var reports []int64
	m := &meter{file: strings.NewReader("0123456789"), total: 10, last: time.Now(), report: func(done, total int64) { reports = append(reports, done, total) }}
	read := func(n int) {
		if _, err := io.CopyN(io.Discard, m, int64(n)); err != nil {
			t.Fatal(err)
		}
	}
	read(3)
	m.last = m.last.Add(-time.Second)
	read(2)
	read(5)
	if want := []int64{5, 10}; !slices.Equal(reports, want) {
		t.Errorf("got %v, want %v", reports, want)
	}
}
