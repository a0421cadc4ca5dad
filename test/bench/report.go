package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

// result compares one figure.
type result struct {
	Name     string  `json:"name"`
	Unit     string  `json:"unit"`
	Ours     float64 `json:"ours"` // median
	Peer     float64 `json:"peer"` // median
	PeerName string  `json:"peer_name"`
	Ratio    float64 `json:"ratio"` // ours/peer
	Goal     string  `json:"goal"`  // of the ratio: "<= 1.15", ">= 1.0", or noGoal
	Runs     int     `json:"runs"`  // of each side
}

// noGoal is the goal of a figure that is only reported.
const noGoal = "none"

func compare(name, unit, goal, peerName string, ours, peer []float64) result {
	r := result{Name: name, Unit: unit, Ours: median(ours), Peer: median(peer), PeerName: peerName, Goal: goal, Runs: len(ours)}
	if r.Peer != 0 { // else there is none
		r.Ratio = r.Ours / r.Peer
	}
	return r
}

// compareTails is compare of what 99 of 100 runs do not exceed.
func compareTails(name, unit, goal, peerName string, ours, peer []float64) result {
	r := compare(name, unit, goal, peerName, []float64{percentile(99, ours)}, []float64{percentile(99, peer)})
	r.Runs = len(ours)
	return r
}

// verdict is "met" or "missed", or empty when there is no goal.
func (r result) verdict() string {
	var op string
	var limit float64
	if _, err := fmt.Sscanf(r.Goal, "%s %g", &op, &limit); err != nil {
		return ""
	}
	if op == "<=" && r.Ratio <= limit || op == ">=" && r.Ratio >= limit {
		return "met"
	}
	return "missed"
}

// median of a list that is not empty.
func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// percentile is the least element of a list, which is not empty, that p of 100 do not
// exceed.
func percentile(p int, list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	return s[max((len(s)*p+99)/100, 1)-1]
}

func printTable(w io.Writer, results []result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "name\tours\tpeer\tunit\tratio\tgoal\t\truns\tpeer's name")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%.4g\t%.4g\t%s\t%.2f\t%s\t%s\t%d\t%s\n", r.Name, r.Ours, r.Peer, r.Unit, r.Ratio, r.Goal, r.verdict(), r.Runs, r.PeerName)
	}
	t.Flush()
}

func writeJSON(path string, results []result) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // a goal has a "<"
	e.SetIndent("", "  ")
	if err := e.Encode(results); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}
