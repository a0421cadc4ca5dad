package cli

import (
	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

func newMetrics() *cobra.Command {
	return &cobra.Command{
		Use:   "metrics [VM...]",
		Short: "Print metrics of running VMs for Prometheus",
		Long: `Print what VMs do and take in Prometheus' text format: of all running VMs, or of those
that are named. Each VM's monitor also answers GET /metrics on the socket control.sock
in the VM's directory (see 'holt inspect').`,
		Example: `  holt metrics
  holt metrics > /var/lib/node_exporter/textfile_collector/holt.prom
  holt metrics web | grep guest_memory`,
		RunE: func(cmd *cobra.Command, args []string) error {
			vms, err := namedOrRunning(cmd.Context(), args)
			if err != nil {
				return err
			}
			return holt.WriteMetrics(cmd.Context(), cmd.OutOrStdout(), vms...)
		},
	}
}
