package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

const (
	execGoal = "<= 1.0"

	noOperation = "/bin/true"
	// floorRuns is how often the guest itself runs it at once, and floorRounds in how
	// many rounds of the others it does so once.
	floorRuns, floorRounds = 20, 10
)

// exec compares round trips into a running guest: what takes a process of its own
// with ssh, as a user calls either, and what a Go program does with ssh over a
// connection that is kept.
func (b *bench) exec(ctx context.Context) ([]result, error) {
	g, err := b.startSSHGuest(ctx)
	if err != nil {
		return nil, err
	}
	defer g.close()
	ours := g.contender("holt exec", g.exec, noOperation)
	api := &contender{name: "vm.Exec", start: func(ctx context.Context) (time.Duration, error) {
		begin := time.Now()
		err := g.vm.Command(ctx, noOperation).Run()
		return time.Since(begin), err
	}}
	ping := &contender{name: "vm.Ping", start: func(ctx context.Context) (time.Duration, error) {
		begin := time.Now()
		err := g.vm.Ping(ctx)
		return time.Since(begin), err
	}}
	fresh := g.contender("ssh, a connection for each command", g.ssh, noOperation)
	kept := g.contender("ssh over a connection that is kept", g.kept, noOperation)
	builtin := g.contender("ssh over a connection that is kept, a command of the shell's own", g.kept, ":")
	floor := &contender{name: "the guest's shell, without anybody outside", start: func(ctx context.Context) (time.Duration, error) {
		begin := time.Now()
		loop := fmt.Sprintf("i=0; while [ $i -lt %d ]; do %s; i=$((i+1)); done", floorRuns, noOperation)
		err := g.vm.Command(ctx, "/bin/sh", "-c", loop).Run()
		return time.Since(begin) / floorRuns, err
	}}
	all := []*contender{ours, fresh, api, kept, ping, builtin}
	for _, c := range append(all, floor) { // what is done once is not measured
		if _, err := c.start(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	n := b.count(300, 100)
	for i := range n {
		turn := all
		if i%floorRounds == 0 {
			turn = append(turn, floor)
		}
		for _, c := range turn {
			if err := c.run(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
		}
		if (i+1)%50 == 0 || i+1 == n {
			progress("exec %d/%d  holt exec %.1f ms, ssh %.1f ms", i+1, n, median(ours.times), median(fresh.times))
		}
	}
	var results []result
	for _, one := range []struct {
		name, goal string
		ours, peer *contender
	}{
		{"exec", execGoal, ours, fresh},
		{"exec-kept", noGoal, ours, kept},
		{"exec-api", execGoal, api, kept},
		{"ping", execGoal, ping, builtin},
	} {
		results = append(results,
			compare(one.name, "ms", one.goal, one.peer.name, one.ours.times, one.peer.times),
			compareTails(one.name+"-p99", "ms", one.goal, one.peer.name, one.ours.times, one.peer.times))
	}
	return append(results, compare("exec-floor", "ms", noGoal, floor.name, api.times, floor.times)), nil
}

// contender is a program on the host that has the guest do something.
func (g *sshGuest) contender(name string, command func(context.Context, ...string) *exec.Cmd, args ...string) *contender {
	return &contender{name: name, start: func(ctx context.Context) (time.Duration, error) { return timed(command(ctx, args...)) }}
}
