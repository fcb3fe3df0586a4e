{{- define "nightbell.name" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "nightbell.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "nightbell.labels" -}}
{{ include "nightbell.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* A setting as the server reads it: numbers come as floats, of which a million is 1e+06. */}}
{{- define "nightbell.setting" -}}
{{- if kindIs "bool" . }}{{ ternary "on" "off" . }}
{{- else if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}
{{- else }}{{ . }}
{{- end -}}
{{- end -}}

{{/* What cannot work is refused before anything is installed. */}}
{{- define "nightbell.check" -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository is empty: push the image of `cargo xtask dist` to a registry of yours and name it" -}}
{{- end -}}
{{- if not .Values.secretKey.existingSecret -}}
{{- fail "secretKey.existingSecret is empty: make a Secret with the key that seals secrets, and name it (see values.yaml)" -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.store.existingSecret) -}}
{{- fail "several nodes share a store in PostgreSQL: set store.existingSecret, or replicas to 1" -}}
{{- end -}}
{{- range list "listen" "peer_listen" "peer_address" "store" "secret_key" "secret_key_file" "socket" "load" "standby" -}}
{{- if hasKey $.Values.settings . -}}
{{- fail (printf "settings.%s is decided by the chart" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
