package holt_test

import (
	"context"
	"fmt"
	"time"

	"github.com/holtvm/holt"
)

// Follow what a VM prints, from its last ten lines on until it ends.
func ExampleVM_Logs() {
	ctx := context.Background()
	vm, err := holt.Open(ctx, "web")
	if err != nil {
		fmt.Println(err)
		return
	}
	for line, err := range vm.Logs(ctx, holt.LogOptions{Tail: 10, Follow: true}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s %s %q\n", line.Time.Format(time.TimeOnly), line.Stream, line.Text)
	}
}

// Tell which VMs ended within the last hour.
func ExampleEvents() {
	for event, err := range holt.Events(context.Background(), holt.EventOptions{Since: time.Now().Add(-time.Hour)}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if event.Action == "die" {
			fmt.Println(event.Time.Format(time.TimeOnly), event.Name, event.Attributes)
		}
	}
}
