from chat.views import page
from django.urls import path

urlpatterns = [path("", page)]
