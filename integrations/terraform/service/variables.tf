variable "function" {
  description = "The registry's function for stacks: the output CustomResourceFunctionArn of its own stack."
  type        = string
}

variable "name" {
  description = "The service's name. The registry's parameter CustomResourceServices has to list it."
  type        = string
}

variable "namespace" {
  description = "Its namespace, which has to exist."
  type        = string
  default     = "default"
}

variable "owner" {
  description = "Who made it: the description ends in it. The default is a new one for each instance of this module."
  type        = string
  default     = null
}

variable "start" {
  description = "The first port of its range."
  type        = number
}

variable "end" {
  description = "The last port of its range."
  type        = number
}

variable "description" {
  description = "Its purpose."
  type        = string
  default     = ""
}

variable "strategy" {
  description = "How it chooses ports: lowest, hashed or random."
  type        = string
  default     = "lowest"
}

variable "lease_seconds" {
  description = "For how long a port is allocated unless its caller says otherwise; null for until it is released."
  type        = number
  default     = null
}

variable "max_lease_seconds" {
  description = "For how long a port is allocated at most; null for no limit."
  type        = number
  default     = null
}

variable "cooldown_seconds" {
  description = "For how long after its release only the same name gets a port."
  type        = number
  default     = 0
}

variable "quarantine_seconds" {
  description = "For how long nobody gets a port that was in use on the host."
  type        = number
  default     = 3600
}

variable "reserved" {
  description = "Ports that are only given to whoever asks for them by number, as in [\"5060\", \"5070-5079\"]."
  type        = list(string)
  default     = []
}
