{{- define "tlsclose.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tlsclose.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tlsclose.labels" -}}
{{ include "tlsclose.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* The probe .probe, over TLS where .scheme says so and the probe says nothing. */ -}}
{{- define "tlsclose.probe" -}}
{{- $probe := omit .probe "httpGet" -}}
{{- with get .probe "httpGet" -}}
{{- $get := omit . "scheme" -}}
{{- if hasKey . "scheme" -}}
{{- $_ := set $get "scheme" .scheme -}}
{{- else if eq (lower $.scheme) "https" -}}
{{- $_ := set $get "scheme" "HTTPS" -}}
{{- end -}}
{{- $_ := set $probe "httpGet" $get -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}

{{- /* "yes" where the cluster knows the field appArmorProfile; before that there was an annotation. */ -}}
{{- define "tlsclose.appArmorField" -}}
{{- if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}yes{{ end -}}
{{- end -}}
